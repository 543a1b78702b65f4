#include "rle.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include "text.hpp"

namespace samdeploy::internal {
namespace {

/// Each count, or from the fourth on its difference to the one two before, in groups of five bits, lowest first.
std::string compress(const std::vector<std::uint32_t>& counts) {
  std::string out;
  for (std::size_t i = 0; i < counts.size(); i++) {
    std::int64_t value = counts[i];
    if (i > 2) value -= counts[i - 2];
    for (bool done = false; !done;) {
      const std::int64_t group = value & 31;
      value >>= 5;
      // Finished when the sign bit of this group says the rest.
      done = value == ((group & 16) != 0 ? -1 : 0);
      out.push_back(static_cast<char>(48 + (done ? group : group | 32)));
    }
  }
  return out;
}

std::vector<std::int64_t> decompress(const std::string& text) {
  constexpr int most_shift = 40;
  std::vector<std::int64_t> counts;
  std::int64_t value = 0;
  int shift = 0;
  for (char character : text) {
    const int group = character - 48;
    if (group < 0 || group > 63 || shift > most_shift) {
      refuse(Fault::input, "RLE counts hold '", character, "'; expected COCO's compressed form.");
    }
    value += std::int64_t{group & 31} << shift;
    shift += 5;
    if ((group & 32) != 0) continue;
    if ((group & 16) != 0) value -= std::int64_t{1} << shift;
    counts.push_back(value + (counts.size() > 2 ? counts[counts.size() - 2] : 0));
    value = shift = 0;
  }
  if (shift != 0) refuse(Fault::input, "RLE counts end inside a number; expected COCO's compressed form.");
  return counts;
}

/// Where the run of `pixels` that goes on at `at` ends; eight at a time.
std::size_t run_end(const std::vector<std::uint8_t>& pixels, std::size_t at, bool inside) {
  constexpr std::uint64_t ones = 0x0101010101010101;
  const std::uint64_t same = inside ? ones : 0;
  for (std::uint64_t eight = 0; at + sizeof eight <= pixels.size(); at += sizeof eight) {
    std::memcpy(&eight, pixels.data() + at, sizeof eight);
    if (eight != same) break;
  }
  while (at < pixels.size() && (pixels[at] != 0) == inside) at++;
  return at;
}

}  // namespace

void RunWriter::add(int x, int top, const std::vector<std::uint8_t>& pixels) {
  const auto start = static_cast<std::uint32_t>(x * std::int64_t{size_.height} + top);
  const std::size_t count = pixels.size();
  bool inside = false;
  for (std::size_t at = run_end(pixels, 0, inside);; at = run_end(pixels, at, inside)) {
    if (at == count && !inside) return;
    inside = !inside;
    const std::uint32_t bound = start + static_cast<std::uint32_t>(at);
    // A run to the foot of a column goes on at the head of the next.
    if (inside && !bounds_.empty() && bounds_.back() == bound) {
      bounds_.pop_back();
    } else {
      bounds_.push_back(bound);
    }
  }
}

Runs RunWriter::finish() {
  const auto total = static_cast<std::uint32_t>(pixels(size_));
  if (bounds_.empty() || bounds_.back() != total) bounds_.push_back(total);
  std::uint32_t before = 0;
  for (std::uint32_t& bound : bounds_) {
    const std::uint32_t length = bound - before;
    before = bound;
    bound = length;
  }
  return {size_, std::move(bounds_)};
}

Runs Runs::encode(const Bitmap& bitmap, Size size) { return encode_part(bitmap, size, 0, 0, size); }

Runs Runs::encode_part(const Bitmap& part, Size part_size, int top, int left, Size size) {
  // Several columns at a time: a row of them is one line of the cache.
  constexpr int most = 64;
  const auto width = static_cast<std::size_t>(part_size.width);
  RunWriter writer(size);
  std::array<std::vector<std::uint8_t>, most> columns;
  for (auto& column : columns) column.resize(static_cast<std::size_t>(part_size.height));
  for (int first = 0; first < part_size.width; first += most) {
    const auto count = static_cast<std::size_t>(std::min(most, part_size.width - first));
    for (std::size_t y = 0; y < columns[0].size(); y++) {
      const std::uint8_t* from = part.data() + y * width + static_cast<std::size_t>(first);
      for (std::size_t i = 0; i < count; i++) columns[i][y] = from[i] != 0 ? 1 : 0;
    }
    for (std::size_t i = 0; i < count; i++) writer.add(left + first + static_cast<int>(i), top, columns[i]);
  }
  return writer.finish();
}

Runs Runs::from_coco(const RunLengths& rle) {
  const auto counts = decompress(rle.counts);
  std::int64_t total = 0;
  bool negative = rle.size.height < 0 || rle.size.width < 0;
  Runs runs{rle.size, {}};
  for (std::int64_t count : counts) {
    negative = negative || count < 0 || count > INT32_MAX;
    total += count;
    runs.counts.push_back(static_cast<std::uint32_t>(count));
  }
  if (negative || total != std::int64_t{rle.size.height} * rle.size.width) {
    refuse(Fault::input, "RLE counts cover ", total, " pixels; expected ", rle.size.height, " x ", rle.size.width,
           " in runs >= 0.");
  }
  return runs;
}

RunLengths Runs::to_coco() const { return {size, compress(counts)}; }

Bitmap Runs::decode() const {
  Bitmap bitmap(pixels(size));
  const auto height = static_cast<std::size_t>(size.height);
  const auto width = static_cast<std::size_t>(size.width);
  std::size_t at = 0;
  for (std::size_t i = 0; i < counts.size(); at += counts[i++]) {
    if (i % 2 == 0) continue;
    for (std::size_t pixel = at; pixel < at + counts[i]; pixel++) {
      bitmap[(pixel % height) * width + pixel / height] = 1;
    }
  }
  return bitmap;
}

std::int64_t Runs::area() const {
  std::int64_t sum = 0;
  for (std::size_t i = 1; i < counts.size(); i += 2) sum += counts[i];
  return sum;
}

Box Runs::box() const {
  const std::int64_t height = size.height;
  std::int64_t left = -1;
  std::int64_t right = -1;
  std::int64_t top = height;
  std::int64_t bottom = -1;
  std::int64_t at = 0;
  for (std::size_t i = 0; i < counts.size(); at += counts[i++]) {
    if (i % 2 == 0 || counts[i] == 0) continue;
    const std::int64_t last = at + counts[i] - 1;
    const bool around = at / height != last / height;
    if (left < 0) left = at / height;
    right = last / height;
    top = std::min(top, around ? 0 : at % height);
    bottom = std::max(bottom, around ? height - 1 : last % height);
  }
  if (left < 0) return {};
  return {static_cast<double>(left), static_cast<double>(top), static_cast<double>(right), static_cast<double>(bottom)};
}

}  // namespace samdeploy::internal
