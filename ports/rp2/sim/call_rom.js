// For tests: run boot ROM entries on an emulated core and print what they leave behind.
//   node call_rom.js <rp2040js module> < calls.json > results.json
// A call is {entry, registers: [r0, ...], memory: [[address, bytes], ...], read: [address, count]},
// with entry a function's code ("MC"), "SF.n" or "SD.n". They are found as the SDK finds them: by
// the pointers in the ROM's header. A result is {registers, cycles, memory, error}.

import fs from 'node:fs';
import { pathToFileURL } from 'node:url';

import { Board, Flash } from './board.js';

const RETURN = 0x20020000;
const STACK = 0x20030000;

const board = new Board(await import(pathToFileURL(process.argv[2])), new Flash(null));
board.onBootloader = () => {
  throw new Error('to the boot loader');
};
const { mcu } = board;
const { core } = mcu;
const code = (text) => text.charCodeAt(0) | (text.charCodeAt(1) << 8);

/** Call a Thumb function and run until it comes back; returns the cycles it took. */
function call(address, registers) {
  registers.forEach((v, i) => (core.registers[i] = v));
  core.SP = STACK;
  core.LR = RETURN | 1;
  core.PC = address & ~1;
  const start = core.cycles;
  for (let i = 0; core.PC !== RETURN; i++) {
    if (i > 10000) throw new Error(`function at 0x${address.toString(16)} does not return`);
    core.executeInstruction();
  }
  return core.cycles - start;
}

/** An entry of a table, looked up by the ROM's own function; 0 if there is none. */
function lookUp(tablePointer, name) {
  call(mcu.readUint16(0x18), [mcu.readUint16(tablePointer), code(name)]);
  return core.registers[0];
}

function addressOf(entry) {
  const [name, index] = entry.split('.');
  if (index === undefined) return lookUp(0x14, name);
  return mcu.readUint32(lookUp(0x16, name) + 4 * Number(index));
}

const addresses = new Map();
const results = JSON.parse(fs.readFileSync(0, 'utf8')).map(
  ({ entry, registers = [], memory = [], read }) => {
    if (!addresses.has(entry)) addresses.set(entry, addressOf(entry));
    const address = addresses.get(entry);
    if (!address) return null;
    for (const [start, bytes] of memory) {
      bytes.forEach((b, i) => mcu.writeUint8(start + i, b));
    }
    const result = { cycles: 0, error: null };
    try {
      result.cycles = call(address, registers);
    } catch (e) {
      result.error = e.message;
    }
    result.registers = Array.from(core.registers.subarray(0, 4));
    if (read) result.memory = Array.from({ length: read[1] }, (_, i) => mcu.readUint8(read[0] + i));
    return result;
  },
);
const header = Array.from({ length: 4 }, (_, i) => mcu.readUint8(0x10 + i));
fs.writeSync(1, JSON.stringify({ header, results }));
