// Run lengths of masks.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "geometry.hpp"

namespace samdeploy::internal {

using Bitmap = std::vector<std::uint8_t>;

/// Alternating runs down the columns of a mask, the first of them outside (of length 0 where a mask starts inside).
struct Runs {
  Size size;
  std::vector<std::uint32_t> counts;

  /// Encode a bitmap, row by row, with 0 outside.
  static Runs encode(const Bitmap& bitmap, Size size);
  /// Encode a mask of `size` that is `part`, with its first pixel at row `top`, column `left`, and empty elsewhere.
  static Runs encode_part(const Bitmap& part, Size part_size, int top, int left, Size size);
  /// Read COCO's compressed form. Throws for what is none.
  static Runs from_coco(const RunLengths& rle);

  RunLengths to_coco() const;
  Bitmap decode() const;
  std::int64_t area() const;
  /// First and last column and row with a pixel inside, both inclusive; zeros for an empty mask.
  Box box() const;
};

/// Writes runs, column by column from left to right.
class RunWriter {
 public:
  explicit RunWriter(Size size) : size_(size) {}

  /// Column `x` of a mask: `pixels` from row `top` on, 0 or 1 each, and empty elsewhere. Columns that are left out are
  /// empty.
  void add(int x, int top, const std::vector<std::uint8_t>& pixels);
  Runs finish();

 private:
  Size size_;
  /// Where the inside begins and ends, in turn.
  std::vector<std::uint32_t> bounds_;
};

}  // namespace samdeploy::internal
