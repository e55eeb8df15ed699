/** Loaded into Hubcap with `--import`: a test moves its time, also by the clock that otherwise never jumps. */
import "./movableClock.ts";

const systemMonotonic = performance.now.bind(performance);
let ahead = 0;

performance.now = () => systemMonotonic() + ahead;
// Heard after movableClock's own listener, which has moved `Date.now` but cannot move what `new Date()` says.
process.on("SIGUSR2", () => {
  ahead = Date.now() - new Date().getTime();
});
