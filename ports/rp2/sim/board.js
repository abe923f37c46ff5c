// One emulated RP2040 board: rp2040js with our boot ROM, a flash chip kept in a file, and the
// host's end of the USB serial port.

import fs from 'node:fs';

import { BootRom } from './bootrom.js';
import { Cores } from './cores.js';

export const FLASH_BYTES = 2 * 1024 * 1024;
const SECTOR = 4096;
const BOOT2_FLASH = 0x10000000;
const BOOT2_RAM = 0x20041f00;
const WATCHDOG = 0x40058;
const DTR_RTS = 3;

/** The flash chip: programming clears bits, erasing sets them; the file follows at once. */
export class Flash {
  constructor(path) {
    this.bytes = new Uint8Array(FLASH_BYTES).fill(0xff);
    this.file = null;
    if (path) {
      if (fs.existsSync(path)) this.bytes.set(fs.readFileSync(path).subarray(0, FLASH_BYTES));
      this.file = fs.openSync(path, fs.existsSync(path) ? 'r+' : 'w+');
      this.save(0, FLASH_BYTES);
    }
  }

  /** Put a firmware image in at the start; the file system behind it stays. */
  load(image) {
    if (image.length > FLASH_BYTES) {
      throw new Error(`the firmware has ${image.length} bytes, the flash ${FLASH_BYTES}`);
    }
    this.bytes.fill(0xff, 0, Math.ceil(image.length / SECTOR) * SECTOR);
    this.bytes.set(image);
    this.save(0, image.length);
  }

  save(offset, count) {
    if (this.file !== null) fs.writeSync(this.file, this.bytes, offset, count, offset);
  }

  check(offset, count) {
    if (offset + count > FLASH_BYTES) {
      throw new Error(`flash access behind its end: ${count} bytes at ${offset}`);
    }
  }

  erase(offset, count) {
    this.check(offset, count);
    this.bytes.fill(0xff, offset, offset + count);
    this.save(offset, count);
  }

  program(offset, data) {
    this.check(offset, data.length);
    for (let i = 0; i < data.length; i++) this.bytes[offset + i] &= data[i];
    this.save(offset, data.length);
  }
}

/**
 * A board with `rp2040js` (the module's namespace) inside. Set `onOutput(bytes)`; feed with
 * `input(bytes)`, open and close the serial port with `connect(open)`, and call `run(nanos)`.
 */
export class Board {
  constructor(rp2040js, flash) {
    this.rp2040js = rp2040js;
    this.flash = flash;
    this.onOutput = () => {};
    this.onBootloader = () => {};
    this.queue = [];
    this.open = false;
    this.start();
  }

  /** Power on, or start again after a reset; the flash stays as it is. */
  start(reason = 0, scratch = null) {
    const { RP2040, USBCDC, ConsoleLogger, LogLevel } = this.rp2040js;
    const mcu = new RP2040();
    this.clock = mcu.clock;
    mcu.logger = new ConsoleLogger(LogLevel.Error, false);
    this.mcu = mcu;
    this.core = mcu.core;
    this.resetWanted = false;
    const { flash } = this;
    const chip = (of) => ({
      erase: (offset, count) => {
        this.cores.checkFlash(of);
        flash.erase(offset, count);
        mcu.flash.fill(0xff, offset, offset + count);
      },
      program: (offset, data) => {
        this.cores.checkFlash(of);
        flash.program(offset, data);
        mcu.flash.set(flash.bytes.subarray(offset, offset + data.length), offset);
      },
    });
    const makeRom = (of) => new BootRom(of, chip(of), () => this.onBootloader());
    const rom = makeRom(mcu);
    mcu.loadBootrom(rom.words);
    mcu.flash.set(flash.bytes); // loading the ROM emptied it
    mcu.onBreak = (n) => rom.break(n);
    this.cores = new Cores(mcu, makeRom);
    const watchdog = mcu.peripherals[WATCHDOG];
    if (scratch) watchdog.scratchData.set(scratch);
    watchdog.reason = reason;
    watchdog.onWatchdogTrigger = () => {
      this.resetWanted = true;
    };
    this.attachUsb(new USBCDC(mcu.usbCtrl));
    // As the boot ROM does: the first 256 bytes of flash run from RAM.
    for (let i = 0; i < 256; i++) mcu.writeUint8(BOOT2_RAM + i, mcu.flash[i]);
    mcu.core.VTOR = 0;
    mcu.core.SP = BOOT2_RAM;
    mcu.core.LR = 0;
    mcu.core.PC = BOOT2_RAM;
  }

  attachUsb(cdc) {
    const usb = this.mcu.usbCtrl;
    this.cdc = cdc;
    this.ready = false;
    this.wanting = 0; // bytes the board has asked for
    const deviceConnected = () => {
      this.ready = true;
      if (!this.open) cdc.cdcSetControlLineState(0);
    };
    cdc.onDeviceConnected = deviceConnected;
    cdc.onSerialData = (bytes) => this.onOutput(bytes);
    usb.onEndpointRead = (endpoint, size) => {
      if (endpoint !== cdc.outEndpoint) return;
      this.wanting = size;
      this.feed();
    };
  }

  /** Hand over what the board asked for, as soon as there is something. */
  feed() {
    if (!this.wanting || !this.queue.length) return;
    const piece = Uint8Array.from(this.queue.splice(0, this.wanting));
    this.wanting = 0;
    this.mcu.usbCtrl.endpointReadDone(this.cdc.outEndpoint, piece);
  }

  input(bytes) {
    for (const b of bytes) this.queue.push(b);
    this.feed();
  }

  connect(open) {
    if (open === this.open) return;
    this.open = open;
    if (this.ready) this.cdc.cdcSetControlLineState(open ? DTR_RTS : 0);
  }

  /** Run for so many nanoseconds of the board's time, or until `stop()` says so. */
  run(nanos, stop = () => false) {
    const end = this.clock.nanos + nanos;
    const cycleNanos = 1e9 / this.mcu.clkSys;
    const { core, clock, cores } = this;
    while (clock.nanos < end) {
      if (!core.waiting) {
        const before = core.cycles;
        core.executeInstruction();
        const cycles = core.cycles - before;
        clock.tick(cycles * cycleNanos);
        if (cores.second !== null) cores.follow(cycles);
      } else {
        const alarm = Math.min(clock.nanosToNextAlarm || Infinity, end - clock.nanos);
        clock.tick(cores.awake ? cores.step() * cycleNanos : Math.max(0, alarm));
        if (core.interruptsUpdated && core.checkForInterrupts()) core.waiting = false;
      }
      if (this.resetWanted) {
        const { scratchData, reason } = this.mcu.peripherals[WATCHDOG];
        this.start(reason, scratchData);
        return;
      }
      if (stop()) return;
    }
  }
}
