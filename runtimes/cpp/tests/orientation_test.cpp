// Which way up the program takes a photograph to be: files made byte by byte, whole, odd and damaged.
#include "orientation.hpp"

#include "check.hpp"

namespace {

using Bytes = std::vector<std::uint8_t>;

Bytes number(std::uint32_t value, int bytes, bool little) {
  Bytes out;
  for (int i = 0; i < bytes; i++) out.push_back(static_cast<std::uint8_t>(value >> 8 * (little ? i : bytes - 1 - i)));
  return out;
}

Bytes operator+(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

Bytes text(const std::string& letters) { return {letters.begin(), letters.end()}; }

Bytes segment(std::uint8_t marker, const Bytes& held) {
  return Bytes{0xFF, marker} + number(static_cast<std::uint32_t>(held.size() + 2), 2, false) + held;
}

/// A width of another tag before the orientation.
Bytes exif(std::uint32_t value, bool little, std::uint32_t type = 3) {
  const auto entry = [&](std::uint32_t tag, std::uint32_t kind, std::uint32_t given) {
    const int bytes = kind == 3 ? 2 : 4;
    Bytes filled = number(given, bytes, little);
    filled.resize(4);
    return number(tag, 2, little) + number(kind, 2, little) + number(1, 4, little) + filled;
  };
  return segment(0xE1, text(std::string("Exif\0\0", 6)) + text(little ? "II" : "MM") + number(42, 2, little) +
                           number(8, 4, little) + number(2, 2, little) + entry(0x100, 4, 640) +
                           entry(0x112, type, value));
}

Bytes xmp(const std::string& content) {
  return segment(0xE1, text(std::string("http://ns.adobe.com/xap/1.0/\0", 29)) + text(content));
}

/// With a segment before what is told, and a scan behind it.
Bytes jpeg(const Bytes& told) {
  return Bytes{0xFF, 0xD8} + segment(0xE0, text("JFIF")) + told + segment(0xDA, {1, 2, 3}) + Bytes{0xFF, 0xD9};
}

void expect(int expected, const Bytes& file, const std::string& what) {
  const int found = cli::orientation_of(file);
  check(found == expected, what + ": orientation " + std::to_string(found) + ", expected " + std::to_string(expected));
}

void test_files() {
  for (bool little : {false, true}) {
    for (std::uint32_t value = 1; value <= 8; value++) {
      expect(static_cast<int>(value), jpeg(exif(value, little)), "EXIF");
      expect(static_cast<int>(value), jpeg(exif(value, little, 4)), "EXIF of 32 bits");
    }
    expect(0, jpeg(exif(0, little)), "orientation 0");
    expect(0, jpeg(exif(9, little)), "orientation 9");
    expect(0, jpeg(exif(6, little, 2)), "a text");
    const Bytes whole = jpeg(exif(6, little));
    for (std::size_t length = 0; length < whole.size(); length++) {
      const int found = cli::orientation_of({whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length)});
      check(found == 0 || found == 1 || found == 6, "a file that is cut");
    }
    for (std::size_t i = 0; i < whole.size(); i++) {
      Bytes changed = whole;
      changed[i] = 0xFF;
      const int found = cli::orientation_of(changed);
      check(found >= 0 && found <= 8, "a file that is damaged");
    }
  }
  expect(1, {}, "an empty file");
  expect(1, text("\x89PNG"), "a PNG file");
  expect(1, jpeg({}), "a JPEG file without EXIF");
  expect(8, jpeg(xmp("<x tiff:Orientation=\"8\"/>")), "XMP");
  expect(3, jpeg(xmp("<tiff:Orientation>3</tiff:Orientation>")), "XMP as an element");
  expect(1, jpeg(xmp("<x/>")), "XMP that does not say");
  expect(6, jpeg(xmp("<x tiff:Orientation=\"8\"/>") + exif(6, true)), "EXIF after XMP");
  expect(1, Bytes{0xFF, 0xD8} + segment(0xDA, {}) + exif(6, true), "what comes after a scan");
}

/// 1 2 3
/// 4 5 6, stored, turned by each orientation.
void test_turning() {
  const std::vector<std::vector<int>> expected{{1, 2, 3, 4, 5, 6}, {3, 2, 1, 6, 5, 4}, {6, 5, 4, 3, 2, 1},
                                               {4, 5, 6, 1, 2, 3}, {1, 4, 2, 5, 3, 6}, {4, 1, 5, 2, 6, 3},
                                               {6, 3, 5, 2, 4, 1}, {3, 6, 2, 5, 1, 4}};
  cli::Picture stored{{}, 3, 2};
  for (std::uint8_t value = 1; value <= 6; value++) {
    for (std::uint8_t channel : {0, 10, 20}) stored.data.push_back(static_cast<std::uint8_t>(value + channel));
  }
  for (int orientation = 0; orientation <= 8; orientation++) {
    const cli::Picture turned = cli::upright(stored, orientation);
    const auto& told = expected[static_cast<std::size_t>(orientation == 0 ? 0 : orientation - 1)];
    check(turned.width == (orientation < 5 ? 3 : 2) && turned.height == (orientation < 5 ? 2 : 3), "sides that turn");
    for (std::size_t i = 0; i < told.size(); i++) {
      check(turned.data[3 * i] == told[i] && turned.data[3 * i + 2] == told[i] + 20,
            "orientation " + std::to_string(orientation));
    }
  }
}

}  // namespace

int main() {
  test_files();
  test_turning();
  return failures();
}
