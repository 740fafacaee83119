/** The look of `<moqvox-talk>`; a page sets the custom properties to fit its own. */

export const STYLE = `
:host {
  --mv-accent: var(--moqvox-accent, #2f6df6);
  --mv-live: var(--moqvox-live, #d92d5b);
  --mv-good: var(--moqvox-good, #157f4b);
  --mv-bad: var(--moqvox-bad, #b3261e);
  --mv-ink: var(--moqvox-ink, #16202e);
  --mv-soft: var(--moqvox-soft, #5a6778);
  --mv-line: var(--moqvox-line, #d8dfe8);
  --mv-ground: var(--moqvox-ground, #ffffff);
  --mv-tint: var(--moqvox-tint, #f1f5fb);
  display: flex;
  flex-direction: column;
  gap: 1rem;
  color: var(--mv-ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
}
[hidden] { display: none !important; }
.stage { padding-top: .4rem; display: flex; flex-direction: column; align-items: center; gap: .9rem; }
.talk {
  --level: 0;
  position: relative;
  width: 9.5rem;
  aspect-ratio: 1;
  border: 0;
  border-radius: 50%;
  background: var(--mv-accent);
  color: #fff;
  font: inherit;
  font-weight: 600;
  cursor: pointer;
  touch-action: none;
  user-select: none;
  -webkit-user-select: none;
  -webkit-tap-highlight-color: transparent;
  box-shadow: 0 .5rem 1.6rem color-mix(in srgb, var(--mv-accent) 35%, transparent),
    0 0 0 calc(var(--level) * 1.1rem) color-mix(in srgb, var(--mv-live) 22%, transparent);
  transition: background .15s, transform .12s;
}
.talk svg { display: block; width: 2.9rem; height: 2.9rem; margin: 0 auto .3rem; }
.talk:hover { filter: brightness(1.06); }
.talk:active, .talk[aria-pressed="true"] { transform: scale(.97); }
.talk[aria-pressed="true"] { background: var(--mv-live); }
.talk:disabled { background: var(--mv-line); color: var(--mv-soft); cursor: default; box-shadow: none; }
:focus-visible { outline: 3px solid color-mix(in srgb, var(--mv-accent) 60%, #fff); outline-offset: 3px; }
.status { min-height: 1.5em; margin: 0; text-align: center; color: var(--mv-soft); text-wrap: balance; }
.status[data-kind="bad"] { color: var(--mv-bad); }
.row { display: flex; flex-wrap: wrap; justify-content: center; gap: .6rem 1.2rem; align-items: center; }
.switch { display: inline-flex; align-items: center; gap: .5rem; cursor: pointer; }
.switch input { width: 1.1rem; height: 1.1rem; accent-color: var(--mv-accent); }
.plain {
  border: 1px solid var(--mv-line);
  border-radius: .6rem;
  padding: .45rem .9rem;
  background: var(--mv-ground);
  color: var(--mv-ink);
  font: inherit;
  cursor: pointer;
}
.plain:hover:not(:disabled) { border-color: var(--mv-soft); }
.plain:disabled { color: var(--mv-soft); opacity: .6; cursor: default; }
form { display: flex; gap: .5rem; }
form input {
  flex: 1;
  min-width: 0;
  border: 1px solid var(--mv-line);
  border-radius: .6rem;
  padding: .6rem .8rem;
  background: var(--mv-ground);
  color: var(--mv-ink);
  font: inherit;
}
form .plain { background: var(--mv-accent); border-color: var(--mv-accent); color: #fff; }
.log { display: flex; flex-direction: column; gap: .8rem; }
.turn { display: flex; flex-direction: column; gap: .5rem; }
.said, .answer { border-radius: 1rem; padding: .6rem .9rem; max-width: 90%; overflow-wrap: anywhere; }
.said { align-self: flex-end; background: var(--mv-tint); border-bottom-right-radius: .3rem; }
.answer { align-self: flex-start; border: 1px solid var(--mv-line); border-bottom-left-radius: .3rem; }
.who { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.badge {
  display: inline-block;
  margin-left: .5rem;
  border-radius: 1rem;
  padding: 0 .6rem;
  font-size: .8rem;
  font-variant-numeric: tabular-nums;
  white-space: nowrap;
  color: var(--mv-soft);
  border: 1px solid var(--mv-line);
}
.badge[data-kind="good"] { color: #fff; background: var(--mv-good); border-color: var(--mv-good); }
.badge[data-kind="bad"] { color: var(--mv-ground); background: var(--mv-bad); border-color: var(--mv-bad); }
.word { border-radius: .3rem; padding: 0 .12em; margin: 0 -.12em; }
.word.ahead { color: var(--mv-soft); }
.word.now { background: var(--mv-accent); color: #fff; }
.cut { color: var(--mv-soft); font-size: .85rem; }
@media (prefers-reduced-motion: reduce) { * { transition: none !important; } }
`;

/** What the element consists of. */
export const MARKUP = `
<div class="stage" part="stage">
  <button class="talk" part="talk" type="button" aria-pressed="false">
    <svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2"
      stroke-linecap="round" aria-hidden="true">
      <rect x="9" y="2" width="6" height="12" rx="3" fill="currentColor"/>
      <path d="M5 11a7 7 0 0 0 14 0M12 18v4"/>
    </svg>
    <span class="label">Hold to talk</span>
  </button>
  <p class="status" role="status" aria-live="polite"></p>
  <div class="row">
    <label class="switch"><input type="checkbox" class="handsfree"> Hands-free</label>
    <button class="plain interrupt" type="button" disabled>Interrupt</button>
  </div>
</div>
<form hidden>
  <input type="text" class="text" aria-label="Write to the agent" placeholder="Write instead"
    autocomplete="off" maxlength="4000">
  <button class="plain" type="submit">Send</button>
</form>
<div class="log" role="log" aria-label="Conversation"></div>
`;
