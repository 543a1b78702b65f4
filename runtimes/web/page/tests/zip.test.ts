import { expect, test } from "vitest";
import { crc32, zip } from "../src/zip";

test("the check sum is the usual one", () => {
  expect(crc32(new TextEncoder().encode("123456789"))).toBe(0xcbf43926);
});

test("an archive has its files, and says where they are", async () => {
  const archive = zip(new Map([["a.txt", "one"], ["b/é.txt", ""]]));
  const bytes = new DataView(await archive.arrayBuffer());
  const end = bytes.byteLength - 22;
  expect(bytes.getUint32(end, true)).toBe(0x06054b50);
  expect(bytes.getUint16(end + 10, true)).toBe(2);
  const central = bytes.getUint32(end + 16, true);
  expect(bytes.getUint32(central, true)).toBe(0x02014b50);
  expect(central + bytes.getUint32(end + 12, true)).toBe(end);
  const name = new Uint8Array(bytes.buffer, 30, 5);
  expect(new TextDecoder().decode(name)).toBe("a.txt");
  expect(bytes.getUint32(0, true)).toBe(0x04034b50);
});
