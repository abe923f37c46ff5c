// A stand-in for the RP2040's boot ROM, for emulators: written from the RP2040 datasheet, section
// 2.8 (boot ROM contents), with nothing of Raspberry Pi's ROM in it.
//
// The image holds the documented header (magic, version, three pointers), the function and data
// tables, and one stub of two instructions per entry: `bkpt #n; bx lr`. The emulator calls
// `call(n)` at the bkpt, which runs the entry on the registers (arguments in r0..r3, result in
// r0 and r1).

import * as sf from './softfloat.js';

const VERSION = 3;
const SIZE = 16 * 1024;
const STUBS = 0x400;
const TABLES = 0x1000;
const BKPT = 0xbe00;
const BX_LR = 0x4770;
// What a stub itself takes in the emulator (bkpt 1, bx 2 cycles): part of a routine's cost.
export const STUB_CYCLES = 3;

// Average cycles per routine. Bit functions: the counts that Raspberry Pi gives with the published
// ROM (pico-bootrom-rp2040, head of bootrom/bit_functions.S). Float routines: the tables of the
// RP2040 datasheet, section 2.8.3.2, column "V2 Cycles (Avg)", written down from memory. What they
// could be compared with: the last two double entries in a copy of the datasheet (equal), and what
// the author of the ROM's library publishes (quinapalus.com/qfplib-m0-full.html), measured on
// another Cortex-M0+ with the call included: 3 to 8 cycles more for everything without a division
// (add 76, sub 78, mul 62, sqrt 67 ...), and more for divisions, which use RP2040's divider here.
// host_tests/test_rp2_rom.py holds the table to that. Not comparable with anything: conversions,
// and exp and ln in single precision, where the ROM has an older algorithm. Entry 18 (sincos) came
// with version 3; its figures are estimates from those of sin. Training uses add, sub, mul, div,
// compare and from int.
export const BIT_CYCLES = { P3: 20, R3: 22, L3: 10, T3: 11 };
// prettier-ignore
export const FLOAT_CYCLES = [
  71, 74, 58, 71, 0, 0, 63, 40, // add, sub, mul, div, -, -, sqrt, to int
  39, 39, 38, 55, 53, 54, 52, 587, // to fix, uint, ufix; from int, fix, uint, ufix; cos
  577, 653, 642, 524, 789, 25, 667, 62, // sin, tan, sincos, exp, ln, compare, atan2, from int64
  60, 58, 57, 54, 53, 42, 41, 15, // from fix64, uint64, ufix64; to int64 … ufix64, double
];
// prettier-ignore
export const DOUBLE_CYCLES = [
  91, 95, 155, 183, 0, 0, 169, 75,
  74, 63, 62, 69, 68, 64, 62, 1617,
  1618, 1891, 1700, 804, 428, 39, 2168, 55,
  56, 42, 43, 64, 63, 53, 52, 23,
];

// The datasheet gives no figures for memory functions; these are those of the obvious loops:
// four words by ldm/stm, or one byte by ldrb/strb.
const copyCycles = (bytes, aligned) => 20 + (aligned ? Math.ceil((13 * bytes) / 16) : 8 * bytes);
const fillCycles = (bytes, aligned) => 20 + (aligned ? Math.ceil(bytes / 2) : 5 * bytes);

/**
 * A boot ROM for one core of an emulated RP2040, that of `mcu`; both have the same image, `words`.
 * `onWait` is called where the program of core 1 returns to, `wait`. `flash` gets erase(offset, count) and program(offset,
 * bytes); `toBootloader` is called where the real ROM would become a USB drive.
 */
export class BootRom {
  constructor(mcu, flash, toBootloader) {
    this.mcu = mcu;
    this.entries = [];
    this.image = new DataView(new ArrayBuffer(SIZE));
    this.functions = this.romFunctions(flash, toBootloader);
    this.onWait = () => this.unsupported('wait_for_vector');
    this.build();
  }

  get words() {
    return new Uint32Array(this.image.buffer);
  }

  get registers() {
    return this.mcu.core.registers;
  }

  /** The core ran into breakpoint n: an entry, or a crash. */
  break(n) {
    const { core } = this.mcu;
    if (core.PC < SIZE) this.call(n);
    else {
      const [at, from] = [core.PC - 2, core.LR].map((v) => `0x${v.toString(16)}`);
      throw new Error(`the board crashed (breakpoint ${n} at ${at}, called from ${from})`);
    }
  }

  /** Run entry n, and let the time pass that the real routine takes. */
  call(n) {
    const entry = this.entries[n];
    if (!entry) throw new Error(`boot ROM entry ${n} does not exist`);
    const cycles = entry.run();
    this.mcu.core.cycles += Math.max(0, (entry.cycles ?? cycles ?? STUB_CYCLES) - STUB_CYCLES);
  }

  stub(name, run, cycles) {
    const n = this.entries.length;
    const address = STUBS + 4 * n;
    this.entries.push({ name, run, cycles });
    this.image.setUint16(address, BKPT | n, true);
    this.image.setUint16(address + 2, BX_LR, true);
    return address | 1;
  }

  build() {
    const { image } = this;
    image.setUint32(0, 0x20041f00, true); // initial stack: where boot2 is copied to
    image.setUint32(4, this.stub('reset', () => this.unsupported('reset')), true);
    image.setUint8(0x10, 'M'.charCodeAt(0));
    image.setUint8(0x11, 'u'.charCodeAt(0));
    image.setUint8(0x12, 1);
    image.setUint8(0x13, VERSION);
    const lookup = this.stub('table_lookup', () => this.tableLookup());
    let at = TABLES;
    const table = (pairs) => {
      const start = at;
      for (const [code, address] of pairs) {
        image.setUint16(at, code.charCodeAt(0) | (code.charCodeAt(1) << 8), true);
        image.setUint16(at + 2, address, true);
        at += 4;
      }
      at += 4; // a code of 0 ends it
      return start;
    };
    const vectors = (name, handlers, cycles) => {
      at += 4;
      image.setUint8(at - 2, handlers.length); // the SDK checks the number of entries
      const start = at;
      handlers.forEach((run, i) => {
        const missing = () => this.unsupported(`${name}[${i}]`);
        image.setUint32(at, this.stub(`${name}[${i}]`, run ?? missing, cycles[i]), true);
        at += 4;
      });
      return start;
    };
    const functions = Object.entries(this.functions).map(([code, run]) => [
      code,
      this.stub(code, run, BIT_CYCLES[code]),
    ]);
    const text = at;
    const copyright = 'tinyprop stand-in boot ROM';
    for (const c of `${copyright}\0`) image.setUint8(at++, c.charCodeAt(0));
    at = (at + 3) & ~3;
    const revision = at;
    at += 4;
    const SF = vectors('SF', this.floatFunctions(), FLOAT_CYCLES);
    const SD = vectors('SD', this.doubleFunctions(), DOUBLE_CYCLES);
    this.wait = this.stub('wait_for_vector', () => this.onWait());
    const functionTable = table(functions);
    const dataTable = table(Object.entries({ CR: text, GR: revision, SF, SD }));
    image.setUint16(0x14, functionTable, true);
    image.setUint16(0x16, dataTable, true);
    image.setUint16(0x18, lookup, true);
  }

  unsupported(what) {
    throw new Error(`the firmware called ${what}, which this boot ROM has not`);
  }

  /** rom_table_lookup(table, code): 16-bit code and 16-bit pointer per entry, 0 at the end. */
  tableLookup() {
    const r = this.registers;
    const code = r[1] & 0xffff;
    let cycles = 12;
    for (let p = r[0]; ; p += 4, cycles += 9) {
      const key = this.mcu.readUint16(p);
      if (key === 0 || key === code) {
        r[0] = key === 0 ? 0 : this.mcu.readUint16(p + 2);
        return cycles;
      }
    }
  }

  romFunctions(flash, toBootloader) {
    const { mcu } = this;
    const r = mcu.core.registers;
    const bytes = (address, count) =>
      Uint8Array.from({ length: count }, (_, i) => mcu.readUint8((address + i) >>> 0));
    const fill = () => {
      const [start, value, count] = r;
      for (let i = 0; i < count; i++) mcu.writeUint8((start + i) >>> 0, value & 0xff);
      return fillCycles(count, start % 4 === 0);
    };
    const copy = () => {
      const [target, source, count] = r;
      for (let i = 0; i < count; i++) {
        mcu.writeUint8((target + i) >>> 0, mcu.readUint8((source + i) >>> 0));
      }
      return copyCycles(count, (target | source) % 4 === 0);
    };
    const nothing = () => STUB_CYCLES;
    return {
      // Bits.
      P3: () => {
        let v = r[0] - ((r[0] >>> 1) & 0x55555555);
        v = (v & 0x33333333) + ((v >>> 2) & 0x33333333);
        r[0] = Math.imul((v + (v >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
      },
      R3: () => {
        let v = 0;
        for (let i = 0; i < 32; i++) v = (v << 1) | ((r[0] >>> i) & 1);
        r[0] = v;
      },
      L3: () => {
        r[0] = Math.clz32(r[0]);
      },
      T3: () => {
        r[0] = r[0] === 0 ? 32 : 31 - Math.clz32(r[0] & -r[0]);
      },
      // Memory: memset(p, c, n), memset4, memcpy(target, source, n), memcpy44; all return r0.
      MS: fill,
      S4: fill,
      MC: copy,
      C4: copy,
      // Flash: connect, exit XIP, erase(offset, count, block, command), program(offset, data,
      // count), flush the cache, enter XIP.
      IF: nothing,
      EX: nothing,
      RE: () => flash.erase(r[0], r[1]),
      RP: () => flash.program(r[0], bytes(r[1], r[2])),
      FC: nothing,
      CX: nothing,
      // reset_to_usb_boot
      UB: () => toBootloader(),
    };
  }

  /** The 32 words of the single-precision table, in the datasheet's order; null: unused. */
  floatFunctions() {
    const r = this.registers;
    const a = () => sf.single(r[0]);
    const give = (v) => {
      r[0] = sf.singleBits(v);
    };
    const unary = (f) => () => give(f(a()));
    const binary = (f) => () => give(f(a(), sf.single(r[1])));
    const sincos = () => {
      const v = a();
      r[0] = sf.singleBits(sf.sin(v));
      r[1] = sf.singleBits(sf.cos(v));
    };
    const put64 = ([low, high]) => {
      r[0] = low;
      r[1] = high;
    };
    const signed = (v) => v | 0;
    return [
      binary(sf.add),
      binary(sf.sub),
      binary(sf.mul),
      binary(sf.div),
      null,
      null,
      unary(sf.sqrt),
      () => (r[0] = sf.toInt(a())),
      () => (r[0] = sf.toInt(a(), signed(r[1]))),
      () => (r[0] = sf.toUint(a())),
      () => (r[0] = sf.toUint(a(), signed(r[1]))),
      () => give(signed(r[0])),
      () => give(sf.fromFixed(signed(r[0]), signed(r[1]))),
      () => give(r[0]),
      () => give(sf.fromFixed(r[0], signed(r[1]))),
      unary(sf.cos),
      sincos, // sin; the SDK takes the cosine from r1
      unary(sf.tan),
      sincos,
      unary(sf.exp),
      unary(sf.ln),
      () => (r[0] = sf.compare(a(), sf.single(r[1]))),
      binary(sf.atan2),
      () => give(sf.fixed64ToSingle(sf.int64(r[0], r[1]))),
      () => give(sf.fixed64ToSingle(sf.int64(r[0], r[1]), signed(r[2]))),
      () => give(sf.fixed64ToSingle(sf.uint64(r[0], r[1]))),
      () => give(sf.fixed64ToSingle(sf.uint64(r[0], r[1]), signed(r[2]))),
      () => put64(sf.toInt64(a())),
      () => put64(sf.toInt64(a(), signed(r[1]))),
      () => put64(sf.toUint64(a())),
      () => put64(sf.toUint64(a(), signed(r[1]))),
      () => put64(sf.doubleBits(a())),
    ];
  }

  /** The same for doubles: the first in r0:r1, the second in r2:r3. */
  doubleFunctions() {
    const r = this.registers;
    const a = () => sf.double(r[0], r[1]);
    const put64 = ([low, high]) => {
      r[0] = low;
      r[1] = high;
    };
    const give = (v) => put64(sf.doubleBits(v));
    const unary = (f) => () => give(f(a()));
    const binary = (f) => () => give(f(a(), sf.double(r[2], r[3])));
    const sincos = () => {
      const v = a();
      give(sf.sin(v));
      [r[2], r[3]] = sf.doubleBits(sf.cos(v));
    };
    const signed = (v) => v | 0;
    return [
      binary(sf.add),
      binary(sf.sub),
      binary(sf.mul),
      binary(sf.div),
      null,
      null,
      unary(sf.sqrt),
      () => (r[0] = sf.toInt(a())),
      () => (r[0] = sf.toInt(a(), signed(r[2]))),
      () => (r[0] = sf.toUint(a())),
      () => (r[0] = sf.toUint(a(), signed(r[2]))),
      () => give(signed(r[0])),
      () => give(sf.fromFixed(signed(r[0]), signed(r[1]))),
      () => give(r[0]),
      () => give(sf.fromFixed(r[0], signed(r[1]))),
      unary(sf.cos),
      sincos,
      unary(sf.tan),
      sincos,
      unary(sf.exp),
      unary(sf.ln),
      () => (r[0] = sf.compare(a(), sf.double(r[2], r[3]))),
      binary(sf.atan2),
      () => give(sf.fixed64ToDouble(sf.int64(r[0], r[1]))),
      () => give(sf.fixed64ToDouble(sf.int64(r[0], r[1]), signed(r[2]))),
      () => give(sf.fixed64ToDouble(sf.uint64(r[0], r[1]))),
      () => give(sf.fixed64ToDouble(sf.uint64(r[0], r[1]), signed(r[2]))),
      () => put64(sf.toInt64(a())),
      () => put64(sf.toInt64(a(), signed(r[2]))),
      () => put64(sf.toUint64(a())),
      () => put64(sf.toUint64(a(), signed(r[2]))),
      () => (r[0] = sf.singleBits(a())),
    ];
  }
}
