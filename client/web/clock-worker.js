/** Rings for clock.js: `{ id, ms }` sets a timer, `{ id }` takes it back; its `id` is told in time. */

const timers = new Map();

onmessage = ({ data: { id, ms } }) => {
  clearTimeout(timers.get(id));
  timers.delete(id);
  if (ms === undefined) return;
  timers.set(id, setTimeout(() => {
    timers.delete(id);
    postMessage(id);
  }, ms));
};
