// The emulator as a child process of scripts/sim_rp2.py, which owns the pseudo-terminal.
//   node main.js <rp2040js module> <firmware.bin> <flash image>
// stdin: frames of a type byte, a 16-bit little-endian length and content; D: bytes for the board's
// serial port, C: a program has opened the port, X: it has closed it. stdout: the bytes the board
// sends; the board waits while they are not taken. stderr: one line per event.

import fs from 'node:fs';
import { pathToFileURL } from 'node:url';

import { Board, Flash } from './board.js';

const SLICE_NANOS = 1e6;
const QUEUE_BYTES = 4096;

function say(text) {
  fs.writeSync(2, `${text}\n`);
}

function end(code) {
  process.stdin.destroy();
  process.exit(code);
}

/** Cuts the stream of frames into (type, content). */
class Frames {
  constructor(take) {
    this.take = take;
    this.rest = Buffer.alloc(0);
  }

  push(chunk) {
    let data = Buffer.concat([this.rest, chunk]);
    while (data.length >= 3) {
      const length = data.readUInt16LE(1);
      if (data.length < 3 + length) break;
      this.take(String.fromCharCode(data[0]), data.subarray(3, 3 + length));
      data = data.subarray(3 + length);
    }
    this.rest = data;
  }
}

const [modulePath, firmware, flashPath] = process.argv.slice(2);
const rp2040js = await import(pathToFileURL(modulePath));
const flash = new Flash(flashPath);
flash.load(fs.readFileSync(firmware));
const board = new Board(rp2040js, flash);

let blocked = false;
let stopped = false;
board.onOutput = (bytes) => {
  if (!process.stdout.write(Buffer.from(bytes))) blocked = true;
};
process.stdout.on('drain', () => {
  blocked = false;
  schedule(0);
});
process.stdout.on('error', () => end(0));
board.onBootloader = () => {
  stopped = true;
  say('The board went into its USB boot loader, which ends the emulator.');
  setImmediate(() => end(0));
};

const frames = new Frames((type, content) => {
  if (type === 'D') board.input(content);
  else board.connect(type === 'C');
});
process.stdin.on('data', (chunk) => {
  frames.push(chunk);
  if (board.queue.length > QUEUE_BYTES) process.stdin.pause();
});
process.stdin.on('end', () => end(0));
process.on('SIGINT', () => {}); // the parent gets it too, and ends stdin

// Real time: the board may be slower than the real one, never faster. What it lost is not made up.
let wall = performance.now();
let scheduled = false;

function schedule(milliseconds) {
  if (scheduled || stopped) return;
  scheduled = true;
  const run = () => {
    scheduled = false;
    slice();
  };
  if (milliseconds >= 1) setTimeout(run, milliseconds);
  else setImmediate(run);
}

function slice() {
  if (blocked || stopped) return;
  try {
    board.run(SLICE_NANOS, () => blocked || stopped);
  } catch (e) {
    say(`error: ${e.message}`);
    end(1);
  }
  if (process.stdin.isPaused() && board.queue.length < QUEUE_BYTES / 2) process.stdin.resume();
  const now = performance.now();
  wall = Math.max(wall + SLICE_NANOS / 1e6, now - 2);
  schedule(wall - now);
}

say('running');
slice();
