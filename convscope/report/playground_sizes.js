"use strict";
// The playground: what a network of the family costs, from its settings alone. The arithmetic is
// that of convscope.models.sizes and convscope.probes.fields; tests compare the two.
window.convscope = window.convscope || {};
(() => {
  const MOST_CHANNELS = 65536, MOST_BLOCKS = 200, MOST_PARAMETERS = 2e9;
  const BYTES = 4; // of a float32
  const MONOTONE = ["relu", "tanh", "leaky_relu", "identity"]; // these commute with max pooling
  const POOLS = { max: "MaxPool", avg: "AvgPool2d", stride: "PickOne" };
  const NORMS = { batch: "BatchNorm2d", group: "GroupNorm", affine: "ChannelAffine" };
  const DEFAULTS = {
    width: 32, depth: 3, block_depth: 1, growth: 2, kernel: 3, activation: "relu", pool: "max",
    pool_sizes: [], norm: "none", skip: false, head: "flatten", hidden: [], order: "natural",
    pixels: "natural", stem: "none", pool_at: "end", dilations: [],
  };
  const thousands = (n) => n.toLocaleString("en-US");
  const float = (x) => (Number.isInteger(x) ? x.toFixed(1) : String(x));
  const listed = (values) => `[${values.join(", ")}]`;

  function refuse(text) {
    throw new RangeError(text);
  }

  function checkRange(name, value, low, high) {
    if (!Number.isInteger(value)) refuse(`${name} = ${value}: must be a whole number`);
    if (value < low || value > high) {
      refuse(`${name} = ${value}: must be from ${thousands(low)} to ${thousands(high)}`);
    }
  }

  function checkBlocks(name, noun, values, depth) {
    const given = `${name} = ${listed(values)}`;
    if (values.length && values.length !== depth) {
      refuse(`${given}: must have one ${noun} per block, ${depth} in all, or none`);
    }
    if (values.some((value) => !(Number.isInteger(value) && value >= 1 && value <= 255))) {
      refuse(`${given}: each must be from 1 to 255`);
    }
  }

  // As Python rounds: halves go to the even neighbour.
  function round(x) {
    const low = Math.floor(x);
    if (x - low !== 0.5) return Math.round(x);
    return low % 2 ? low + 1 : low;
  }

  // The settings as a recipe would take them, or a RangeError that says what is wrong.
  function checked(settings, shape, classes) {
    const spec = { ...DEFAULTS, ...settings };
    if (shape.some((side) => !(Number.isInteger(side) && side >= 1 && side <= MOST_CHANNELS))) {
      refuse(`input = ${shape.join("×")}: each must be a whole number from 1 to 65,536`);
    }
    checkRange("classes", classes, 1, 1e6);
    checkRange("width", spec.width, 1, MOST_CHANNELS);
    checkRange("depth", spec.depth, 1, MOST_BLOCKS);
    checkRange("block_depth", spec.block_depth, 1, MOST_BLOCKS);
    if (!Number.isFinite(spec.growth)) refuse("growth: must be a finite number");
    if (spec.growth < 0.01 || spec.growth > 16) {
      refuse(`growth = ${float(spec.growth)}: must be from 0.01 to 16.0`);
    }
    checkRange("kernel", spec.kernel, 1, 255);
    if (spec.kernel % 2 === 0) {
      refuse(`kernel = ${spec.kernel}: must be odd (1, 3, 5, 7 …), which keeps the map's size`);
    }
    checkBlocks("pool_sizes", "size", spec.pool_sizes, spec.depth);
    checkBlocks("dilations", "dilation", spec.dilations, spec.depth);
    if (spec.hidden.some((n) => !(Number.isInteger(n) && n >= 1 && n <= MOST_CHANNELS))) {
      refuse(`hidden = ${listed(spec.hidden)}: each must be from 1 to ${MOST_CHANNELS}`);
    }
    if (spec.order !== "natural" && spec.head !== "flatten") {
      refuse(`order = ${spec.order}: needs head = flatten; head = ${spec.head} has no order`);
    }
    const blocks = [...Array(spec.depth).keys()];
    spec.channels = blocks.map(
      (d) => Math.max(1, round(spec.width * Math.min(spec.growth ** d, 1e9))));
    const widest = Math.max(...spec.channels);
    if (widest > MOST_CHANNELS) {
      refuse(`width ${spec.width} grown by ${float(spec.growth)} over ${spec.depth} blocks is ` +
        `${thousands(widest)} channels, over ${MOST_CHANNELS}`);
    }
    const sizes = spec.pool_sizes.length ? spec.pool_sizes : blocks.map(() => 2);
    spec.pools = spec.pool === "none" ? blocks.map(() => 1) : sizes;
    spec.spread = spec.dilations.length ? spec.dilations : blocks.map(() => 1);
    checkSides(spec, shape);
    checkWeights(spec, shape);
    return spec;
  }

  // The images are large enough for the stem and for the poolings.
  function checkSides(spec, [, height, width]) {
    const images = `${height}×${width}`, stem = spec.stem === "whiten";
    if (stem && Math.min(height, width) < 2) {
      refuse(`stem = whiten: takes patches of 2×2 pixels; the images have ${images}`);
    }
    let sides = [height - stem, width - stem];
    spec.pools.forEach((pool, d) => {
      const smaller = sides.map((side) => Math.floor(side / pool));
      if (Math.min(...smaller) < 1) {
        refuse(`depth = ${spec.depth}: block ${d + 1} would pool a ${sides.join("×")} feature ` +
          `map by ${pool}, below 1×1; depth at most ${d} for ${images} images, or pool = none`);
      }
      sides = smaller;
    });
    spec.sides = sides;
  }

  function checkWeights(spec, [inputs]) {
    let total = 0, before = inputs;
    for (const channels of spec.channels) {
      total += spec.kernel ** 2 * channels * (before + channels * (spec.block_depth - 1));
      before = channels;
    }
    let features = before * (spec.head === "gap" ? 1 : spec.sides[0] * spec.sides[1]);
    for (const size of spec.hidden) {
      total += features * size;
      features = size;
    }
    if (total > MOST_PARAMETERS) {
      refuse(`width = ${spec.width}, depth = ${spec.depth}: ${thousands(total)} parameters on ` +
        `${inputs} channels; at most 2,000,000,000`);
    }
  }

  // Walks through the network as an image does, and writes a row for each layer that it calls.
  class Walk {
    constructor(shape) {
      this.shape = shape; // of the tensor at hand, without the batch
      this.input = shape.slice(1);
      this.field = { size: 1, stride: 1, start: 0 }; // null: every output sees the whole input
      this.held = 0; // values that wait for the end of a skip
      this.rows = [];
    }

    // values: how many are in memory while the layer works; null where it works in place
    add(name, kind, shape, { parameters = 0, flops = 0, filters = 0, placed = false } = {}) {
      const count = (sides) => sides.reduce((a, b) => a * b, 1);
      const values = count(shape) + (placed ? 0 : count(this.shape)) + this.held;
      this.shape = shape;
      this.rows.push({ name, kind, shape, filters, parameters, flops, memory: BYTES * values,
        field: this.field ? [this.field.size, this.field.size] : this.input,
        stride: this.field && this.field.stride, start: this.field ? this.field.start : 0 });
    }

    look(size, before, stride = 1) {
      if (!this.field) return;
      this.field = { size: this.field.size + (size - 1) * this.field.stride,
        start: this.field.start - before * this.field.stride,
        stride: this.field.stride * stride };
    }

    convolve(name, kind, filters, kernel, dilation, border, learnt) {
      const [inputs, height, width] = this.shape;
      const shape = [filters, ...[height, width].map(
        (side) => side + 2 * border - dilation * (kernel - 1))];
      const weights = inputs * kernel ** 2;
      const flops = 2 * filters * weights * shape[1] * shape[2];
      this.look(dilation * (kernel - 1) + 1, border);
      const parameters = learnt ? filters * (weights + 1) : filters;
      this.add(name, kind, shape, { parameters, flops, filters });
    }

    pool(name, kind, size) {
      const [channels, height, width] = this.shape;
      // a stride looks at one pixel of each window
      this.look(kind === POOLS.stride ? 1 : size, 0, size);
      this.add(name, kind, [channels, Math.floor(height / size), Math.floor(width / size)]);
    }

    inPlace(name, kind, parameters = 0) {
      if (kind === NORMS.group) this.field = null; // its statistics are of the whole map
      this.add(name, kind, this.shape, { parameters, placed: true });
    }

    linear(name, outputs) {
      const inputs = this.shape[0];
      this.add(name, "Linear", [outputs],
        { parameters: (inputs + 1) * outputs, flops: 2 * inputs * outputs });
    }
  }

  function addBlock(walk, spec, d) {
    const path = `blocks.${d}`, channels = spec.channels[d], size = spec.pools[d];
    const first = spec.pool_at === "first", skip = spec.skip && spec.block_depth > 1;
    const swap = !first && spec.pool === "max" && MONOTONE.includes(spec.activation);
    const border = Math.floor(spec.kernel / 2) * spec.spread[d];
    const pool = () => size > 1 && walk.pool(`${path}.pool`, POOLS[spec.pool], size);
    const act = () => walk.inPlace(`${path}.act`, "Act");
    for (let i = 0; i < spec.block_depth; i++) {
      // the first activation's output is what the second convolution reads: not held twice
      if (skip && i === 2) walk.held = walk.shape.reduce((a, b) => a * b, 1);
      walk.convolve(
        `${path}.convs.${i}`, "Conv2d", channels, spec.kernel, spec.spread[d], border, true);
      if (first && i === 0) pool();
      if (spec.norm !== "none") {
        walk.inPlace(`${path}.norms.${i}`, NORMS[spec.norm], 2 * channels);
      }
      if (i < spec.block_depth - 1) act();
    }
    walk.held = 0;
    if (first || !swap) act();
    if (!first) pool();
    if (swap) act();
  }

  function addHead(walk, spec, classes) {
    const gap = spec.head === "gap", [channels, height, width] = walk.shape;
    walk.field = null;
    if (gap) {
      walk.add("head.0", "AdaptiveAvgPool2d", [channels, 1, 1]);
      walk.add("head.1", "Flatten", [channels], { placed: true });
    } else {
      walk.add("head", "Flatten", [channels * height * width], { placed: true });
    }
    if (spec.order !== "natural") {
      walk.add("order", spec.order === "per-sample" ? "ShuffleEach" : "Permute", walk.shape);
    }
    spec.hidden.forEach((size, i) => {
      walk.linear(`fc.${2 * i}`, size);
      walk.inPlace(`fc.${2 * i + 1}`, "Act");
    });
    walk.linear(`fc.${2 * spec.hidden.length}`, classes);
  }

  // settings: a ConvNet's, as in a recipe; shape: channels, height, width of an image.
  // Returns rows of layers, sums, the peak of the activations' memory in bytes, the receptive field
  // before the head, and the map behind each block. RangeError where there is no such network.
  function network(settings, shape, classes) {
    const spec = checked(settings, shape, classes), walk = new Walk(shape), stages = [];
    const stage = (title) => stages.push({ title, shape: walk.shape,
      field: walk.field ? [walk.field.size, walk.field.size] : walk.input,
      whole: !walk.field });
    if (spec.pixels !== "natural") walk.add("pixels", "PermutePixels", shape);
    if (spec.stem === "whiten") {
      walk.convolve("stem", "Whiten", 8 * shape[0], 2, 1, 0, false);
      stage("stem");
    }
    spec.channels.forEach((_, d) => {
      addBlock(walk, spec, d);
      stage(`block ${d + 1}`);
    });
    const { field, whole } = stages.at(-1);
    addHead(walk, spec, classes);
    const sum = (key) => walk.rows.reduce((total, row) => total + row[key], 0);
    const peak = walk.rows.reduce((most, row) => (row.memory > most.memory ? row : most));
    return { spec, layers: walk.rows, stages, field, whole, peak: peak.memory, peakAt: peak.name,
      fixed: spec.stem === "whiten" ? `, ${8 * shape[0]} filters fixed` : "",
      filters: sum("filters"), parameters: sum("parameters"), flops: sum("flops") };
  }

  Object.assign(window.convscope, { network, defaults: DEFAULTS });
})();
