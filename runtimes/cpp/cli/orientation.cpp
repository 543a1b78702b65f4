#include "orientation.hpp"

#include <algorithm>
#include <optional>
#include <string>

namespace cli {
namespace {

constexpr int most = 8;

/// Bytes that are read with care: beyond the end there is nothing.
class Bytes {
 public:
  Bytes(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}

  std::size_t size() const { return size_; }
  Bytes from(std::size_t at) const { return at >= size_ ? Bytes(data_, 0) : Bytes(data_ + at, size_ - at); }
  Bytes first(std::size_t count) const { return {data_, std::min(count, size_)}; }
  std::string text() const { return {reinterpret_cast<const char*>(data_), size_}; }
  bool begins(const std::string& with) const { return first(with.size()).text() == with; }

  /// A whole number of `count` bytes.
  std::optional<std::uint32_t> number(std::size_t at, std::size_t count, bool little) const {
    if (at > size_ || count > size_ - at) return std::nullopt;
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < count; i++) value = value << 8 | data_[at + (little ? count - 1 - i : i)];
    return value;
  }

 private:
  const std::uint8_t* data_;
  std::size_t size_;
};

/// What the first directory of a TIFF structure tells: none, or 0 for what is no orientation.
std::optional<int> of_exif(const Bytes& tiff) {
  constexpr std::uint32_t tag = 0x0112;
  constexpr std::uint32_t short_type = 3;
  constexpr std::uint32_t long_type = 4;
  const bool little = tiff.begins("II");
  const auto directory = tiff.number(4, 4, little);
  if ((!little && !tiff.begins("MM")) || tiff.number(2, 2, little) != 42U || !directory) return 0;
  const Bytes entries = tiff.from(*directory);
  const auto count = entries.number(0, 2, little);
  if (!count) return 0;
  for (std::uint32_t i = 0; i < *count; i++) {
    const Bytes entry = entries.from(2 + std::size_t{12} * i).first(12);
    if (entry.size() < 12) return 0;
    if (entry.number(0, 2, little) != tag) continue;
    const auto type = entry.number(2, 2, little);
    if ((type != short_type && type != long_type) || entry.number(4, 4, little) != 1U) return 0;
    const auto value = entry.number(8, type == short_type ? 2 : 4, little);
    return *value >= 1 && *value <= most ? static_cast<int>(*value) : 0;
  }
  return std::nullopt;
}

std::optional<int> of_xmp(const std::string& xmp) {
  for (const char* name : {"tiff:Orientation=\"", "tiff:Orientation>"}) {
    const std::size_t at = xmp.find(name);
    if (at == std::string::npos) continue;
    const std::size_t digit = at + std::string(name).size();
    const int value = digit < xmp.size() ? xmp[digit] - '0' : 0;
    return value >= 1 && value <= most ? value : 0;
  }
  return std::nullopt;
}

}  // namespace

int orientation_of(const std::vector<std::uint8_t>& file) {
  const std::string exif_head("Exif\0\0", 6);
  const std::string xmp_head("http://ns.adobe.com/xap/1.0/\0", 29);
  constexpr std::uint32_t application_1 = 0xFFE1;
  constexpr std::uint32_t scan = 0xFFDA;
  Bytes rest(file.data(), file.size());
  if (rest.number(0, 2, false) != 0xFFD8U) return 1;
  std::optional<int> exif;
  std::optional<int> xmp;
  // A segment is its marker, its length with the two bytes of that, and what it holds.
  for (rest = rest.from(2);;) {
    while (rest.number(0, 2, false) == 0xFFFFU) rest = rest.from(1);  // markers may be filled up
    const auto marker = rest.number(0, 2, false);
    const auto length = rest.number(2, 2, false);
    if (!marker || !length || *marker < 0xFF00U || *marker == scan || *length < 2) break;
    const Bytes held = rest.from(4).first(*length - 2);
    if (*marker == application_1 && !exif && held.begins(exif_head)) exif = of_exif(held.from(exif_head.size()));
    if (*marker == application_1 && !xmp && held.begins(xmp_head)) xmp = of_xmp(held.text());
    rest = rest.from(2 + std::size_t{*length});
  }
  return exif ? *exif : xmp.value_or(1);
}

Picture upright(Picture stored, int orientation) {
  if (orientation <= 1) return stored;
  // Lying pictures come from columns; the others only from the other end of a row or column.
  const bool lying = orientation >= 5;
  const bool from_right = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool from_bottom = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  Picture turned{std::vector<std::uint8_t>(stored.data.size()), lying ? stored.height : stored.width,
                 lying ? stored.width : stored.height};
  std::uint8_t* to = turned.data.data();
  for (int y = 0; y < turned.height; y++) {
    for (int x = 0; x < turned.width; x++, to += 3) {
      const int row = lying ? x : y;
      const int column = lying ? y : x;
      const auto from_y = static_cast<std::size_t>(from_bottom ? stored.height - 1 - row : row);
      const auto from_x = static_cast<std::size_t>(from_right ? stored.width - 1 - column : column);
      std::copy_n(stored.data.data() + 3 * (from_y * static_cast<std::size_t>(stored.width) + from_x), 3, to);
    }
  }
  return turned;
}

}  // namespace cli
