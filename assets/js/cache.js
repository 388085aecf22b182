/* Rows of causal attention maps, kept in the browser so that Back and a click on a token need no server.
   A row belongs to a window: the position of the first token the model saw (`start`). Row i of a window holds, for
   each plane (head), the cells for keys start..i. When the text outgrows the context every step is a window of its own. */
(function () {
  'use strict';
  const glass = window.glass;

  class RowCache {
    /** planes: matrices side by side in a row; budget: bytes kept before the window unused for longest is dropped. */
    constructor(planes, budget) {
      this.planes = planes;
      this.budget = budget;
      this.windows = new Map(); // start -> {start, rows}; a Map keeps the order of use
    }

    /** How many rows of the window at `start` are held, counted from its first. */
    held(start) {
      const window = this.windows.get(start);
      return window ? window.rows.length : 0;
    }

    /** The window at `start` ({start, rows}), or null. */
    at(start) {
      const found = this.windows.get(start);
      if (!found) return null;
      this.windows.delete(start);
      this.windows.set(start, found); // used last, dropped last
      return found;
    }

    /** Adds rows from..to-1. Returns false when rows before `from` are missing (ask again from the start).
        Throws when the cells do not fill the rows. */
    add(start, from, to, cells) {
      const window = this.at(start) || { start, rows: [] };
      const first = from - start;
      if (first > window.rows.length) return false;
      const wanted = this.planes * (to - from) * (from - start + 1 + to - start) / 2;
      if (cells.length !== wanted) throw new Error('The server sent an attention map of the wrong size. Reload the page.');
      if (to > from) window.rows.length = first;
      for (let i = from, offset = 0; i < to; i++) {
        const size = this.planes * (i - start + 1);
        window.rows.push(cells.subarray(offset, offset + size));
        offset += size;
      }
      this.windows.set(start, window);
      this.trim(start);
      return true;
    }

    /** Forgets every row at or after an absolute position: the text was changed there. */
    cut(position) {
      for (const [start, window] of this.windows) {
        window.rows.length = Math.min(window.rows.length, Math.max(0, position - start));
        if (!window.rows.length) this.windows.delete(start);
      }
    }

    trim(keep) {
      const size = (window) => window.rows.reduce((sum, row) => sum + row.byteLength, 0);
      if (this.windows.size < 2) return;
      let total = [...this.windows.values()].reduce((sum, window) => sum + size(window), 0);
      for (const [start, window] of this.windows) {
        if (total <= this.budget || start === keep) continue;
        total -= size(window);
        this.windows.delete(start);
      }
    }
  }

  glass.RowCache = RowCache;
})();
