/* Component 'heads': every head of every layer as a small causal map, all on one canvas. Rows are layers.
   The maps are painted once into a hidden sheet and grow by a line of cells a token; the canvas only copies from it.
   A list of buttons lies over the canvas for the keyboard and for screen readers; the pointer goes to the canvas. */
(function () {
  'use strict';
  const glass = window.glass, h = glass.h;
  const SLIDE_MS = 130, LEFT = 20, TOP = 16;

  // ---- colours and the sheet, shared with zoom.js ----------------------------------------------------------------

  /** byte = 255 * sqrt(weight) -> colour, linear in the byte; read from the page's variables. Little endian RGBA. */
  function palette(element) {
    const from = glass.rgb(glass.variable(element, '--g-h0')), to = glass.rgb(glass.variable(element, '--g-h1'));
    const pack = (c) => (255 << 24 | Math.round(c[2]) << 16 | Math.round(c[1]) << 8 | Math.round(c[0])) >>> 0;
    const ramp = Uint32Array.from({ length: 256 }, (_, b) => pack(from.map((f, i) => f + (to[i] - f) * b / 255)));
    const named = (name) => glass.variable(element, name) || '#888';
    return { ramp, mask: pack(glass.rgb(named('--g-mask'))), css: { mask: named('--g-mask'), hatch: named('--g-hatch'), line: named('--g-line'), ink: named('--g-ink'),
      soft: named('--g-soft'), accent: named('--g-accent'), warm: named('--g-warm'), card: named('--g-card') } };
  }

  /** A hidden canvas of layers x heads squares, one pixel a cell, painted row by row as they come.
      `only` paints a single head into one square. */
  function sheet() {
    const canvas = document.createElement('canvas');
    let side = 0, rows = [], shape = '';
    function update(view, colours, only) {
      const across = only ? 1 : view.heads, down = only ? 1 : view.layers;
      const now = [view.layers, view.heads, only, colours.ramp[0], colours.ramp[255], colours.mask].join('|');
      if (now !== shape || view.count > side) {
        side = Math.max(16, view.count > side ? Math.ceil(view.count * 1.5 / 8) * 8 : side);
        canvas.width = across * side;
        canvas.height = down * side;
        shape = now;
        rows = [];
        const g = canvas.getContext('2d');
        g.fillStyle = colours.css.mask;
        g.fillRect(0, 0, canvas.width, canvas.height);
      }
      let first = 0;
      while (first < view.count && rows[first] === view.rows[first]) first++; // rows never change, they are replaced
      if (first < view.count) paint(view, colours, only, first, across, down);
      rows = rows.slice(0, first).concat(view.rows.slice(first, view.count));
      return { canvas, side };
    }
    function paint(view, colours, only, first, across, down) {
      const g = canvas.getContext('2d'), lines = view.count - first, image = g.createImageData(across * side, lines);
      const pixels = new Uint32Array(image.data.buffer);
      for (let layer = 0; layer < down; layer++) {
        pixels.fill(colours.mask);
        for (let line = 0; line < lines; line++) {
          const row = view.rows[first + line], size = first + line + 1;
          for (let head = 0; head < across; head++) {
            const from = (only ? only[0] * view.heads + only[1] : layer * view.heads + head) * size;
            const to = line * across * side + head * side;
            for (let j = 0; j < size; j++) pixels[to + j] = colours.ramp[row[from + j]];
          }
        }
        g.putImageData(image, 0, layer * side + first);
      }
    }
    return { update };
  }

  /** Runs draw(0..1) over SLIDE_MS. A new run ends the last. */
  function slider(canvas) {
    let frame = 0;
    const settle = () => { canvas.dataset.settled = canvas.dataset.drawn; };
    function stop() {
      cancelAnimationFrame(frame);
      frame = 0;
    }
    function run(draw) {
      stop();
      const began = performance.now();
      const tick = (now) => {
        const t = Math.min(1, Math.max(0, (now - began) / SLIDE_MS));
        draw(1 - (1 - t) ** 3);
        frame = t < 1 ? requestAnimationFrame(tick) : 0;
        if (!frame) settle();
      };
      tick(began);
    }
    return { stop, run, settle, moving: () => frame !== 0 };
  }

  /** Whether `view` is `before` with one or more rows added: then they slide in. */
  const grew = (before, view) => Boolean(before && view && before.start === view.start && before.rows === view.rows
    && view.count > before.count && view.count - before.count <= 2 && !glass.calm());

  /** The width inside a scrolling box, without its padding; 0 while it is not on screen. */
  function room(box) {
    const style = getComputedStyle(box);
    return box.clientWidth ? Math.floor(box.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight)) : 0;
  }

  /** One head in fewer pixels than it has cells: each pixel takes its largest cell, so that thin lines stay. */
  function pooled(view, plane, side, ramp, mask) {
    const n = view.count, most = new Int16Array(side * side).fill(-1), image = new ImageData(side, side);
    for (let i = 0; i < n; i++) {
      const row = view.rows[i], from = plane * (i + 1), line = Math.floor(i * side / n) * side;
      for (let j = 0; j <= i; j++) {
        const at = line + Math.floor(j * side / n);
        if (row[from + j] > most[at]) most[at] = row[from + j];
      }
    }
    const pixels = new Uint32Array(image.data.buffer);
    for (let at = 0; at < most.length; at++) pixels[at] = most[at] < 0 ? mask : ramp[most[at]];
    return image;
  }

  /** A tile of thin diagonals, in the pixels of the screen, for what lies ahead: its tone alone could be a weight. */
  function diagonals(g, colour, ratio) {
    const tile = document.createElement('canvas'), size = Math.round(6 * ratio), t = tile.getContext('2d');
    tile.width = tile.height = size;
    t.strokeStyle = colour;
    t.lineWidth = ratio;
    t.beginPath();
    for (const d of [-size, 0, size]) {
      t.moveTo(d - 2, size + 2);
      t.lineTo(d + size + 2, -2);
    }
    t.stroke();
    const pattern = g.createPattern(tile, 'repeat');
    pattern.setTransform(new DOMMatrix().scale(1 / ratio));
    return pattern;
  }

  /** Hatches the half of a square that is masked; `cell` is the side of one cell there. */
  function ahead(g, pattern, x, y, size, cell) {
    g.fillStyle = pattern;
    g.beginPath();
    g.moveTo(x + cell, y);
    g.lineTo(x + size, y);
    g.lineTo(x + size, y + size - cell);
    g.fill();
  }

  glass.maps = { palette, sheet, slider, grew, room };

  // ---- the grid ---------------------------------------------------------------------------------------------------

  const WORDS = { 1: 'One head', 2: 'Two heads', 4: 'Four heads', 6: 'Six heads', 8: 'Eight heads', 9: 'Nine heads', 12: 'Twelve heads', 16: 'Sixteen heads' };

  /** Where each head stands in a width: {size, gap, x(head), y(layer), width, height} in CSS pixels. */
  function layout(width, layers, heads) {
    const gap = heads > 8 ? 2 : 6, fits = (width - LEFT - 3 - (heads - 1) * gap) / heads;
    const size = Math.floor(Math.max(heads > 8 ? 22 : 34, Math.min(152, fits)));
    const x = (head) => LEFT + head * (size + gap), y = (layer) => TOP + layer * (size + gap);
    return { size, gap, x, y, width: x(heads) - gap + 3, height: y(layers) - gap + 3 };
  }

  function buttons(holder) {
    let shape = '';
    return function sync(place, layers, heads, [layer, head]) {
      const now = [layers, heads, place.size].join('|');
      if (now !== shape) {
        shape = now;
        holder.replaceChildren(...Array.from({ length: layers * heads }, (_, i) => {
          const l = Math.floor(i / heads), k = i % heads;
          return h('button', { type: 'button', class: 'g-cell', role: 'option', 'aria-label': 'Layer ' + (l + 1) + ', head ' + (k + 1),
            dataset: { testid: 'head', layer: l, head: k }, onclick: () => glass.decoder.selectHead(l, k),
            style: { left: place.x(k) + 'px', top: place.y(l) + 'px', width: place.size + 'px', height: place.size + 'px' } });
        }));
      }
      [...holder.children].forEach((button, i) => {
        const on = i === layer * heads + head;
        button.setAttribute('aria-selected', String(on));
        button.tabIndex = on ? 0 : -1;
      });
    };
  }

  glass.component('heads', function (gradio) {
    const root = gradio.element, maps = sheet();
    const canvas = h('canvas', { class: 'g-map', role: 'img', dataset: { testid: 'heads-canvas', drawn: 0, settled: 0, tokens: 0 } });
    const slide = slider(canvas), still = document.createElement('canvas'); // `still`: the grid without its outlines
    const cells = h('div', { class: 'g-cells', role: 'listbox', 'aria-label': 'Heads by layer. Arrow keys choose one.' });
    const box = h('div', { class: 'g-scroll' }, h('div', { class: 'g-over' }, canvas, cells));
    const title = h('h2', { class: 'g-title' }, 'Attention heads'), empty = h('p', { class: 'g-empty' }, 'Nothing has been decoded yet. The maps fill as soon as there is a text.');
    root.replaceChildren(h('section', { class: 'g-card g-heads', dataset: { testid: 'heads' } }, title,
      h('p', { class: 'g-say' }, 'A row a layer, a square a head. More colour is more attention; click one to see it large.'), empty, box));
    const placeButtons = buttons(cells);
    let shown = null, place = null, colours = null, hover = null;

    function draw(view, progress) {
      const g = glass.canvas2d(canvas, place.width, place.height);
      const n = view.count, seen = n - (1 - progress) * (shown && shown.grew || 0), scale = place.size / seen;
      const ratio = canvas.width / place.width, side = Math.round(place.size * ratio), small = n > side;
      const from = small ? null : maps.update(view, colours);
      g.font = '11px system-ui, sans-serif';
      g.fillStyle = colours.css.soft;
      g.textBaseline = 'middle';
      g.textAlign = 'left';
      for (let l = 0; l < view.layers; l++) g.fillText(String(l + 1), 2, place.y(l) + place.size / 2);
      g.textAlign = 'center';
      for (let k = 0; k < view.heads; k++) g.fillText(String(k + 1), place.x(k) + place.size / 2, 7);
      g.imageSmoothingEnabled = false;
      const pattern = diagonals(g, colours.css.hatch, ratio);
      for (let l = 0; l < view.layers; l++) {
        for (let k = 0; k < view.heads; k++) {
          const x = place.x(k), y = place.y(l);
          if (small) g.putImageData(pooled(view, l * view.heads + k, side, colours.ramp, colours.mask), Math.round(x * ratio), Math.round(y * ratio));
          else g.drawImage(from.canvas, k * from.side, l * from.side, seen, seen, x, y, scale * seen, scale * seen);
          ahead(g, pattern, x, y, place.size, scale);
          g.strokeStyle = colours.css.line;
          g.lineWidth = 1;
          g.strokeRect(x - 0.5, y - 0.5, place.size + 1, place.size + 1);
        }
      }
      if (progress === 1) {
        still.width = canvas.width;
        still.height = canvas.height;
        still.getContext('2d').drawImage(canvas, 0, 0);
      }
      outlines(g);
    }

    function outlines(g) {
      if (hover) outline(g, hover, colours.css.soft, 1);
      outline(g, glass.decoder.state.head, colours.css.accent, 2);
    }

    function redraw() {
      const g = glass.canvas2d(canvas, place.width, place.height);
      g.drawImage(still, 0, 0, place.width, place.height);
      outlines(g);
    }

    function outline(g, [layer, head], colour, width) {
      g.strokeStyle = colour;
      g.lineWidth = width;
      const out = 0.5 + width / 2;
      g.strokeRect(place.x(head) - out, place.y(layer) - out, place.size + 2 * out, place.size + 2 * out);
    }

    function paint() {
      const state = glass.decoder.state, view = glass.decoder.view();
      empty.hidden = Boolean(view);
      box.hidden = !view;
      const width = view ? room(box) : 0;
      if (!width) return; // not on screen: drawn when it is, by the observer below
      colours = colours || palette(root);
      place = layout(width, view.layers, view.heads);
      const key = [view.start, view.count, view.layers, view.heads, place.size, colours.ramp, window.devicePixelRatio].join('|');
      const marks = state.head + '|' + hover, last = view.rows[view.count - 1];
      const same = shown && shown.key === key && shown.view.rows === view.rows && shown.last === last;
      if (same && shown.marks === marks) return;
      const slides = !same && grew(shown && shown.view, view);
      shown = { key, view, marks, last, grew: same ? shown.grew : slides ? view.count - shown.view.count : 0 };
      const count = view.layers * view.heads;
      title.textContent = WORDS[count] || count + ' heads';
      canvas.setAttribute('aria-label', 'Attention of ' + view.layers + ' layers by ' + view.heads + ' heads over ' + view.count
        + ' tokens. Selected: layer ' + (state.head[0] + 1) + ', head ' + (state.head[1] + 1) + '.');
      Object.assign(canvas.dataset, { layers: view.layers, heads: view.heads, size: place.size, gap: place.gap, left: LEFT, top: TOP });
      placeButtons(place, view.layers, view.heads, state.head);
      if (same) {
        if (!slide.moving()) redraw(); // else the next frame of the slide draws the outlines
      } else if (slides && view.count <= place.size) slide.run((t) => draw(view, t));
      else {
        slide.stop();
        draw(view, 1);
      }
      glass.drawn(canvas, 'heads', view.count);
      if (!slide.moving()) slide.settle();
    }

    function headAt(event) {
      const view = glass.decoder.view(), at = canvas.getBoundingClientRect();
      if (!view || !place) return null;
      const k = Math.floor((event.clientX - at.left - LEFT) / (place.size + place.gap));
      const l = Math.floor((event.clientY - at.top - TOP) / (place.size + place.gap));
      return l >= 0 && k >= 0 && l < view.layers && k < view.heads ? [l, k] : null;
    }
    /** On a phone the large head lies below the grid: a tap brings it into sight. */
    function bringLarge() {
      const large = [...document.querySelectorAll('.g-zoom')].find((card) => card.checkVisibility());
      if (large && matchMedia('(max-width: 760px)').matches) large.scrollIntoView({ block: 'start', behavior: glass.calm() ? 'auto' : 'smooth' });
    }
    const setHover = (head) => {
      if (String(head) === String(hover)) return;
      hover = head;
      canvas.style.cursor = head ? 'pointer' : '';
      canvas.title = head ? 'Layer ' + (head[0] + 1) + ', head ' + (head[1] + 1) : '';
      paint();
    };
    canvas.addEventListener('pointermove', (event) => setHover(event.pointerType === 'touch' ? null : headAt(event)));
    canvas.addEventListener('pointerleave', () => setHover(null));
    canvas.addEventListener('click', (event) => {
      const head = headAt(event);
      if (!head) return;
      glass.decoder.selectHead(...head);
      bringLarge();
    });
    cells.addEventListener('keydown', (event) => {
      const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }, move = moves[event.key];
      if (!move) return;
      event.preventDefault();
      event.stopPropagation();
      const [l, k] = glass.decoder.state.head;
      glass.decoder.selectHead(l + move[0], k + move[1]);
      const selected = cells.querySelector('[aria-selected=true]');
      if (selected) selected.focus({ preventScroll: false });
    });

    glass.decoder.connect(gradio.server, gradio.props && gradio.props.value);
    glass.on('decode', paint, root);
    glass.on('theme', () => { colours = null; paint(); }, root);
    new ResizeObserver(paint).observe(box);
    paint();
  });
})();
