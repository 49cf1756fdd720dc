// The clock in the test picture's bar, for the scripts beside this one: what src/barcode.ts reads in the page.

/** Cells across the picture: two references, 32 bits of Unix milliseconds, six of their check. */
export const CELLS = 40;

const TWO_32 = 2 ** 32;

/**
 * The low 32 bits of the Unix milliseconds that a picture was drawn at, by the luma of its 40 cells; null where there is no bar.
 * @param {ArrayLike<number>} luma
 */
export function clockOf(luma) {
  const [white, black] = [luma[0] ?? 0, luma[1] ?? 0];
  if (luma.length !== CELLS || white - black < 110) return null;
  const number = (/** @type {number} */ first, /** @type {number} */ end) => {
    let value = 0;
    for (let cell = first; cell < end; cell++)
      value = value * 2 + ((luma[cell] ?? 0) > (white + black) / 2 ? 1 : 0);
    return value;
  };
  const ms = number(2, 34);
  return check(ms) === number(34, CELLS) ? ms : null;
}

/**
 * CRC-6 of 32 bits, polynomial x^6 + x + 1.
 * @param {number} word
 */
function check(word) {
  let crc = 0;
  for (let bit = 31; bit >= 0; bit--) {
    const out = ((crc >> 5) ^ (word >>> bit)) & 1;
    crc = ((crc << 1) & 0x3f) ^ (out ? 0x03 : 0);
  }
  return crc;
}

/**
 * Milliseconds from one clock of 32 bits to another, which may be before it.
 * @param {number} from
 * @param {number} to
 */
export function between(from, to) {
  const forward = (((to - from) % TWO_32) + TWO_32) % TWO_32;
  return forward >= TWO_32 / 2 ? forward - TWO_32 : forward;
}

/**
 * A picture as it was seen: its clock, and the Unix milliseconds then.
 * @typedef {{ clock: number | null, wall: number }} Picture
 */

/**
 * What a visit's pictures tell: how far behind the present the first and the last were, in seconds, how much of the stream was
 * between them, and how far the first is from the first of `before`.
 * @param {Picture[]} pictures
 * @param {Picture[]} [before]
 */
export function told(pictures, before) {
  const read = clocked(pictures);
  const [first, last, start] = [read[0], read.at(-1), before && clocked(before)[0]];
  if (!first || !last) return { pictures: 0 };
  const behind = (/** @type {Clocked} */ { clock, wall }) => tenths(between(clock, wall));
  return {
    pictures: read.length,
    behind: [behind(first), behind(last)],
    played: tenths(between(first.clock, last.clock)),
    ...(start && { moved: tenths(between(start.clock, first.clock)) }),
  };
}

/** @typedef {{ clock: number, wall: number }} Clocked */

/**
 * @param {Picture[]} pictures
 * @returns {Clocked[]}
 */
function clocked(pictures) {
  return pictures.flatMap(({ clock, wall }) => (clock === null ? [] : [{ clock, wall }]));
}

/** @param {number} ms */
function tenths(ms) {
  return Math.round(ms / 100) / 10;
}
