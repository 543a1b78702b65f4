/** The side files that hold weights of an ONNX file, read from its protocol buffers; the graph itself is skipped. */

/** Where tensors are: by kind of message, the kinds of its fields on the way there. */
const fieldsOf: Record<string, Record<number, string>> = {
  model: { 7: "graph", 20: "training", 25: "function" },
  training: { 1: "graph", 2: "graph" },
  function: { 7: "node", 11: "attribute" },
  graph: { 1: "node", 5: "tensor", 15: "sparse" },
  node: { 5: "attribute" },
  attribute: { 5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse" },
  sparse: { 1: "tensor", 2: "tensor" },
  tensor: { 13: "external" },
};
const deepest = 100;
const [varintType, doubleType, bytesType, floatType] = [0, 1, 2, 5];
const [keyField, valueField] = [1, 2];

/** Names as the file tells them, relative to its folder; throws {@link RangeError} for what is no ONNX file. */
export function externalFiles(bytes: Uint8Array): Set<string> {
  const found = new Set<string>();
  collect(bytes, 0, bytes.length, "model", deepest, found);
  return found;
}

function collect(bytes: Uint8Array, start: number, end: number, kind: string, deeper: number, found: Set<string>): void {
  if (!deeper) throw new RangeError("nested too deeply");
  eachField(bytes, start, end, (number, from, to) => {
    const inner = fieldsOf[kind]?.[number];
    if (inner === "external") {
      const entry = new Map<number, string>();
      eachField(bytes, from, to, (part, a, b) => entry.set(part, new TextDecoder().decode(bytes.subarray(a, b))));
      if (entry.get(keyField) === "location") found.add(entry.get(valueField) ?? "");
    } else if (inner) {
      collect(bytes, from, to, inner, deeper - 1, found);
    }
  });
}

/** The fields that have content of their own. */
function eachField(
  bytes: Uint8Array,
  start: number,
  end: number,
  take: (number: number, from: number, to: number) => void,
): void {
  let at = start;
  const varint = (): number => {
    let value = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      if (at >= end) throw new RangeError("truncated");
      const byte = bytes[at++]!;
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
    throw new RangeError("a number of more than 64 bits");
  };
  while (at < end) {
    const key = varint();
    const type = key % 8;
    if (type === varintType) {
      varint();
      continue;
    }
    const length = type === doubleType ? 8 : type === floatType ? 4 : type === bytesType ? varint() : -1;
    if (length < 0 || at + length > end) throw new RangeError("truncated");
    if (type === bytesType) take(Math.floor(key / 8), at, at + length);
    at += length;
  }
}
