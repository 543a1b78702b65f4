// Low-res logits to masks in the image, only for the part that a mask can reach.
#pragma once

#include <array>
#include <utility>
#include <vector>

#include "geometry.hpp"
#include "mask.hpp"

namespace samdeploy::internal {

/// From a start to a stop that is not included.
struct Span {
  int start = 0;
  int stop = 0;
  int length() const { return stop - start; }
};

/// The part of the logits that a mask depends on: its first cell is at `top`, `left`, and it reaches the `rows` and
/// `columns` of the image.
struct Patch {
  std::vector<float> logits;
  Size size;
  int top = 0;
  int left = 0;
  Span rows;
  Span columns;
};

/// How an axis of the image is interpolated from the cells of low-res logits: output `i` reads those from `first[i]` on
/// with `weights[i]`. Outputs from `starts[c]` to `stops[c]` read the cells `c` and `c + 1` alone; where the axis is
/// `dense`, there are such for every `c`.
struct Axis {
  Axis(const Transform& transform, bool down);

  /// The outputs that read any of the cells `from` to `to`.
  Span outputs(int from, int to) const;
  /// The cells that outputs read; a small image does not read every cell.
  Span cells(Span outputs) const;
  /// The outputs above the threshold, of values of the cells.
  Span above(const std::vector<float>& values) const;

  std::vector<int> first;
  std::vector<int> last;
  std::vector<std::vector<float>> weights;
  std::vector<int> starts;
  std::vector<int> stops;
  bool dense = true;
};

/// Interpolation is linear along each axis, and where all logits that a pixel depends on are negative it is outside.
class Upscaler {
 public:
  explicit Upscaler(const Transform& transform);

  /// Box of the mask of `side x side` logits without making it: it may be too large, never too small.
  Box box(const float* logits) const;
  /// A box that the box of the mask holds: of the pixels that read only squares of four positive logits.
  Box inner_box(const Patch& patch) const;
  /// The patch that holds all logits that are inside, in the part that is not padding.
  Patch cut(const float* logits) const { return cut(logits, mask_threshold, cells_); }
  /// The mask as run lengths; `top` and `left` tell where the transform's image lies in a larger one of `size`.
  Runs encode(const Patch& patch, int top, int left, Size size) const;
  /// Stability score of one mask at image size; not a number where nothing is above the lower threshold.
  float stability(const float* logits, float offset) const;
  /// Estimate it, and how far off that may be. An outline lies in squares of four neighbouring logits; of each, the
  /// part inside is taken to be the positive part of its corners.
  std::pair<float, float> estimate_stability(const float* logits, float offset) const;

 private:
  Patch cut(const float* logits, float threshold, Size within) const;
  template <typename Take>
  void each_column(const Patch& patch, const Take& take) const;
  std::pair<double, double> areas(const float* logits, float threshold) const;

  Axis rows_;
  Axis columns_;
  Size cells_;
  int side_;
  /// How much of each axis lies between the centres of neighbouring cells and at the ends.
  std::vector<float> row_sides_;
  std::vector<float> column_sides_;
  double rim_error_;
};

}  // namespace samdeploy::internal
