'use strict';
// Shows how a completion was denoised. #replay-7 in the address shows step 7, #replay-end the end, #replay-play plays.
(() => {
  const root = document.documentElement;
  // for whoever tests the page: what went wrong is said in it
  addEventListener('error', event => { root.dataset.error = event.message; });
  addEventListener('securitypolicyviolation', event => {
    root.dataset.error = `${event.violatedDirective} ${event.blockedURI}`;
  });
  const source = document.getElementById('replay-data');
  if (!source) return;
  const runs = JSON.parse(source.textContent);
  const part = name => document.getElementById(`replay-${name}`);
  const [run, step, example, canvas, slider, play, status] =
    ['run', 'step', 'example', 'canvas', 'slider', 'play', 'status'].map(part);
  const MEANING = {
    low_confidence: 'The shade is the probability of the token when it was committed, 0 to 1.',
    margin: 'The shade is how far the token was ahead of the second most probable, 0 to 1.',
    neg_entropy: 'The shade is exp(-entropy) of the place when it was committed, 0 to 1.',
    random: 'Places were committed in random order: there is no confidence.',
  };
  const MILLISECONDS = 350;
  let cells = [];
  let last = 0;
  let now = 0;
  let timer = 0;

  const fill = (select, texts, chosen) => {
    select.replaceChildren(...texts.map(text => new Option(text)));
    select.selectedIndex = Math.min(chosen, texts.length - 1);
    select.disabled = texts.length < 2;
  };
  const steps = () => runs[run.selectedIndex].steps;
  const replays = () => steps()[step.selectedIndex].replays;

  const fillExamples = () => {
    const counts = {};
    const name = replay => {
      counts[replay.setting] = (counts[replay.setting] || 0) + 1;
      const reward = replay.reward === null ? '' : `, reward ${Number(replay.reward.toPrecision(4))}`;
      return `${replay.setting}, ${counts[replay.setting]}${reward}`;
    };
    fill(example, replays().map(name), Math.max(example.selectedIndex, 0));
  };
  const fillSteps = () => {
    fill(step, steps().map(({ step: n }) => `step ${n}`), steps().length - 1);
    fillExamples();
  };

  const shade = (remasking, confidence) => {
    const size = remasking === 'neg_entropy' ? Math.exp(confidence) : confidence;
    return Math.max(0, Math.min(9, Math.floor(10 * size)));
  };

  const load = () => {
    const replay = replays()[example.selectedIndex];
    const commits = new Map(replay.commits.map(([position, at, confidence]) => [position, { at, confidence }]));
    last = replay.commits.reduce((most, [, at]) => Math.max(most, at + 1), 0);
    cells = replay.pieces.map((piece, position) => {
      const span = document.createElement('span');
      const commit = commits.get(position);
      const behind = position >= replay.length;
      span.textContent = behind ? '·' : piece;
      span.classList.add('cell');
      span.classList.toggle('behind', behind);
      span.classList.toggle('part', !behind && piece === '');
      if (commit && replay.remasking !== 'random') {
        span.classList.add(`c${shade(replay.remasking, commit.confidence)}`);
        span.title = `step ${commit.at + 1}, ${commit.confidence}`;
      }
      // what was filled behind an early stop has no step of its own
      return { span, at: commit ? commit.at : last - 1 };
    });
    canvas.replaceChildren(...cells.map(({ span }) => span));
    slider.max = last;
    part('meaning').textContent = MEANING[replay.remasking] || '';
    part('prompt').textContent = replay.prompt;
  };

  const show = step => {
    now = Math.max(0, Math.min(last, step));
    let committed = 0;
    for (const { span, at } of cells) {
      const masked = at >= now;
      committed += masked ? 0 : 1;
      span.classList.toggle('masked', masked);
      span.classList.toggle('now', at === now - 1);
      span.setAttribute('aria-hidden', masked);
    }
    slider.value = now;
    status.value = `step ${now} of ${last}, ${committed} of ${cells.length} tokens`;
    root.dataset.replay = `${now}/${last}`;
  };

  const stop = () => {
    clearInterval(timer);
    timer = 0;
    play.textContent = 'play';
    play.setAttribute('aria-pressed', 'false');
  };
  const start = () => {
    if (now === last) show(0);
    play.textContent = 'pause';
    play.setAttribute('aria-pressed', 'true');
    timer = setInterval(() => {
      show(now + 1);
      if (now === last) stop();
    }, MILLISECONDS);
  };
  const go = step => { stop(); show(step); };
  const toggle = () => (timer ? stop() : start());
  const anew = () => { stop(); load(); show(last); };

  run.addEventListener('change', () => { fillSteps(); anew(); });
  step.addEventListener('change', () => { fillExamples(); anew(); });
  example.addEventListener('change', anew);
  slider.addEventListener('input', () => go(Number(slider.value)));
  play.addEventListener('click', toggle);
  part('first').addEventListener('click', () => go(0));
  part('back').addEventListener('click', () => go(now - 1));
  part('on').addEventListener('click', () => go(now + 1));
  part('last').addEventListener('click', () => go(last));
  canvas.addEventListener('keydown', event => {
    const action = {
      ArrowLeft: () => go(now - 1),
      ArrowRight: () => go(now + 1),
      Home: () => go(0),
      End: () => go(last),
      ' ': toggle,
    }[event.key];
    if (!action || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    event.preventDefault();
    action();
  });

  fill(run, runs.map(({ name }) => name), 0);
  run.parentElement.hidden = runs.length < 2;
  fillSteps();
  anew();
  const address = () => {
    const asked = /^#replay-(end|play|\d+)$/.exec(location.hash);
    if (!asked) return;
    part('player').scrollIntoView();
    if (asked[1] === 'play') { show(0); start(); } else { go(asked[1] === 'end' ? last : Number(asked[1])); }
  };
  addEventListener('hashchange', address);
  address();
})();
