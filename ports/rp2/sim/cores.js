// Core 1 of the emulated RP2040, and what lies between the cores: rp2040js has core 0 alone. From
// the RP2040 datasheet, sections 2.3.1 (SIO: core number, FIFOs, divider), 2.8.2 (how core 1 is
// launched) and 2.13 (power-on state machine).
//
// Core 1 sees the board through an object that inherits everything from the emulator's `mcu` but
// has a core, an NVIC and a SIO of its own. It exists only from its launch on; before that, and
// after its program returned, it sits in the boot ROM, whose part is played here. Both cores share
// one clock: core 1 goes on whenever it is behind core 0. Bus accesses that collide cost nothing
// here, real ones sometimes a cycle.

const PSM = 0x40010;
const PROC1 = 1 << 16; // in FRCE_OFF
const CPUID = 0x00;
const FIFO_ST = 0x50;
const FIFO_WR = 0x54;
const FIFO_RD = 0x58;
const DIVIDER = 0x60; // from here on, divider and interpolators: each core has its own
const SPINLOCKS = 0x100;
const FIFO_WORDS = 8;
const [VALID, ROOM, OVERFLOW, UNDERFLOW] = [1, 2, 4, 8];
const FIFO_IRQ = 15; // of core 0; 16 is that of core 1
const HARDWARE_IRQS = (1 << 26) - 1;
const WFE = 0xbf20;
const GREETING = [0, 0, 1]; // then vector table, stack, entry

export class Cores {
  /** `makeRom(mcu)`: the boot ROM's entries, working on the registers of the core of `mcu`. */
  constructor(mcu, makeRom) {
    this.mcu = mcu;
    this.makeRom = makeRom;
    this.first = mcu.core;
    this.second = null; // core 1 while it runs a program
    this.ahead = 0; // cycles by which it is before the clock
    this.held = false; // in reset
    this.greeted = [];
    this.queues = [[], []]; // what core 0, core 1 can read
    this.errors = [0, 0]; // OVERFLOW, UNDERFLOW
    this.joinSio(mcu.sio, 0, mcu.sio);
    this.hearSev(mcu, 0);
    mcu.setInterrupt = (irq, value) => {
      this.first.setInterrupt(irq, value);
      this.second?.setInterrupt(irq, value);
    };
    const psm = mcu.peripherals[PSM];
    const write = psm.writeUint32.bind(psm);
    psm.writeUint32 = (offset, value) => {
      write(offset, value);
      const held = (psm.frceOff & PROC1) !== 0;
      if (held) this.stop();
      else if (this.held) this.enterRom();
      this.held = held;
    };
    this.enterRom();
  }

  // --- Time ---

  get awake() {
    return this.second !== null && !this.second.waiting;
  }

  /** Core 0 slept: one instruction of core 1; returns the cycles it took. */
  step() {
    const { second, ahead } = this;
    this.ahead = 0;
    if (ahead > 0) return ahead;
    const before = second.cycles;
    second.executeInstruction();
    return second.cycles - before;
  }

  /** Core 0 took so many cycles: core 1 catches up. */
  follow(cycles) {
    const { second } = this;
    if (second.waiting && second.interruptsUpdated && second.checkForInterrupts()) {
      second.waiting = false;
    }
    let ahead = this.ahead - cycles;
    while (ahead < 0 && !second.waiting && this.second === second) {
      const before = second.cycles;
      second.executeInstruction();
      ahead += second.cycles - before;
    }
    this.ahead = Math.max(ahead, 0);
  }

  /** The core of `mcu` is about to write flash: the other one must not be running from it. */
  checkFlash(mcu) {
    const other = mcu.core === this.first ? this.second : this.first;
    if (other !== null && !other.waiting && other.PC >>> 28 === 1) {
      const at = `0x${other.PC.toString(16)}`;
      throw new Error(`flash is written while the other core runs from it (at ${at})`);
    }
  }

  // --- Events ---

  // All that the emulator does about SEV is to say so, to its logger.
  hearSev(mcu, core) {
    const logger = Object.create(this.mcu.logger);
    logger.info = (_, text) => {
      if (text !== 'SEV') return;
      this.signal(core);
      this.signal(1 - core);
    };
    mcu.logger = logger;
  }

  /** An event reaches a core: it ends WFE, or the next one. */
  signal(n) {
    const core = n === 0 ? this.first : this.second;
    if (core === null) return;
    if (core.waiting && this.mcu.readUint16(core.PC - 2) === WFE) core.waiting = false;
    else core.eventRegistered = true;
  }

  // --- SIO ---

  joinSio(sio, n, shared) {
    const [read, write] = [sio.readUint32.bind(sio), sio.writeUint32.bind(sio)];
    const isOwn = (offset) => sio === shared || (offset >= DIVIDER && offset < SPINLOCKS);
    sio.readUint32 = (offset) => {
      if (offset === CPUID) return n;
      if (offset === FIFO_ST) return this.status(n);
      if (offset === FIFO_RD) return this.pop(n);
      return isOwn(offset) ? read(offset) : shared.readUint32(offset);
    };
    sio.writeUint32 = (offset, value) => {
      if (offset === FIFO_WR) this.push(n, value >>> 0);
      else if (offset === FIFO_ST) {
        this.errors[n] = 0;
        this.showFifo(n);
      } else if (isOwn(offset)) write(offset, value);
      else shared.writeUint32(offset, value);
    };
  }

  status(n) {
    const valid = this.queues[n].length > 0 ? VALID : 0;
    const room = this.queues[1 - n].length < FIFO_WORDS ? ROOM : 0;
    return valid | room | this.errors[n];
  }

  showFifo(n) {
    const core = n === 0 ? this.first : this.second;
    core?.setInterrupt(FIFO_IRQ + n, (this.status(n) & ~ROOM) !== 0);
  }

  pop(n) {
    if (this.queues[n].length === 0) this.errors[n] |= UNDERFLOW;
    const word = this.queues[n].shift() ?? 0;
    this.showFifo(n);
    this.answer();
    return word;
  }

  push(n, word) {
    if (this.queues[1 - n].length < FIFO_WORDS) this.queues[1 - n].push(word);
    else this.errors[n] |= OVERFLOW;
    this.showFifo(n);
    this.showFifo(1 - n);
    this.answer();
  }

  // --- Core 1 in the boot ROM ---

  stop() {
    if (this.second === null) return;
    this.view.ppb.reset();
    this.unlisten();
    this.second = null;
  }

  /** It empties its FIFO, tells core 0 so with a 0, and waits for the six words. */
  enterRom() {
    this.stop();
    this.queues[1] = [];
    this.errors[1] = 0;
    this.greeted = [];
    this.push(1, 0);
    this.signal(0);
  }

  /** Each word is sent back; one that is not expected starts the sequence anew. */
  answer() {
    while (
      this.second === null &&
      !this.held &&
      this.queues[1].length > 0 &&
      this.queues[0].length < FIFO_WORDS
    ) {
      const word = this.queues[1].shift();
      const at = this.greeted.length;
      if (at < GREETING.length && word !== GREETING[at]) this.greeted = [];
      if (at >= GREETING.length || word === GREETING[at]) this.greeted.push(word);
      this.queues[0].push(word);
      this.showFifo(0);
      this.signal(0);
      if (this.greeted.length === 6) this.launch(...this.greeted.slice(GREETING.length));
    }
  }

  launch(vectors, stack, entry) {
    const { mcu } = this;
    const view = Object.create(mcu);
    const core = new mcu.core.constructor(view);
    view.core = core;
    view.ppb = new mcu.ppb.constructor(view, 'PPB1');
    view.sio = new mcu.sio.constructor(view);
    this.hearSev(view, 1);
    this.joinSio(view.sio, 1, mcu.sio);
    const rom = this.makeRom(view);
    rom.onWait = () => this.enterRom();
    view.onBreak = (n) => rom.break(n);
    this.unlisten = mcu.addClockListener((frequency) => {
      view.ppb.systickTimer.frequency = frequency;
    });
    core.pendingInterrupts = this.first.pendingInterrupts & HARDWARE_IRQS & ~(3 << FIFO_IRQ);
    core.VTOR = vectors;
    core.SP = stack;
    core.LR = rom.wait;
    core.PC = (entry & ~1) >>> 0;
    this.view = view;
    this.greeted = [];
    this.ahead = 0;
    this.second = core;
    this.showFifo(1);
  }
}
