// Runs a program without an operating system on the emulated RP2040: code and data in RAM, the
// vectors where its code begins. It prints and ends by semihosting; its SysTick timer counts cycles.
//   node bare.js <rp2040js module> <program.elf>

import fs from 'node:fs';
import { pathToFileURL } from 'node:url';

const { RP2040 } = await import(pathToFileURL(process.argv[2]));
const LOAD = 1;
const EXECUTE = 1;
const WRITE_TEXT = 4;
const EXIT = 0x18;
const STOPPED = 0x20026;
const mcu = new RP2040();
const { core, clock } = mcu;

const elf = fs.readFileSync(process.argv[3]);
let vectors = null;
for (let i = 0; i < elf.readUInt16LE(44); i++) {
  const at = elf.readUInt32LE(28) + i * elf.readUInt16LE(42);
  const [type, from, address, , bytes] = [0, 4, 8, 12, 16].map((n) => elf.readUInt32LE(at + n));
  if (type !== LOAD) continue;
  if (elf.readUInt32LE(at + 24) & EXECUTE) vectors = address;
  for (let n = 0; n < bytes; n += 4) {
    const word = Buffer.alloc(4);
    elf.copy(word, 0, from + n, from + Math.min(n + 4, bytes));
    mcu.writeUint32(address + n, word.readUInt32LE());
  }
}

let code = null;
mcu.onBreak = () => {
  const [operation, argument] = core.registers;
  if (operation === WRITE_TEXT) {
    let text = '';
    for (let at = argument, c; (c = mcu.readUint8(at)) !== 0; at++) text += String.fromCharCode(c);
    fs.writeSync(1, text);
  } else if (operation === EXIT) code = argument === STOPPED ? 0 : 1;
  else throw new Error(`semihosting call ${operation}`);
};
core.SP = mcu.readUint32(vectors);
core.PC = mcu.readUint32(vectors + 4) & ~1;
const cycleNanos = 1e9 / mcu.clkSys;
while (code === null) {
  const before = core.cycles;
  core.executeInstruction();
  clock.tick((core.cycles - before) * cycleNanos);
}
process.exit(code);
