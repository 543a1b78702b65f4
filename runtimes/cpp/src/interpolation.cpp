#include "interpolation.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

namespace samdeploy::internal {
namespace {

/// Where an output reads: between the value at `first` and the one at `second`, `share` of the way.
struct Tap {
  int first;
  int second;
  float share;
};

/// The outermost values go on beyond the ends. Only the first `wanted` outputs of `new_length`.
std::vector<Tap> taps(int length, int new_length, int wanted) {
  std::vector<Tap> result;
  result.reserve(static_cast<std::size_t>(wanted));
  for (int i = 0; i < wanted; i++) {
    // In single precision like the reference's, so that ties fall alike.
    const auto centre = static_cast<float>((i + 0.5) * (static_cast<double>(length) / new_length) - 0.5);
    const int left = std::clamp(static_cast<int>(std::floor(centre)), 0, length - 1);
    result.push_back({left, std::min(left + 1, length - 1), std::clamp(centre - static_cast<float>(left), 0.0F, 1.0F)});
  }
  return result;
}

/// `values` of `size`, `stride` apart, to `new_size`, of which the first rows and columns are `wanted`.
void each_row(const float* values, Size size, int stride, Size new_size, Size wanted, const TakeRow& take) {
  const auto width = static_cast<std::size_t>(wanted.width);
  const auto columns = taps(size.width, new_size.width, wanted.width);
  const auto rows = taps(size.height, new_size.height, wanted.height);
  std::vector<float> upper(width);
  std::vector<float> lower(width);
  std::vector<float> row(width);
  int upper_line = -1;
  int lower_line = -1;
  const auto across = [&](int line, std::vector<float>& out) {
    const float* from = values + static_cast<std::ptrdiff_t>(line) * stride;
    for (std::size_t i = 0; i < width; i++) {
      const Tap& tap = columns[i];
      out[i] = from[tap.first] * (1 - tap.share) + from[tap.second] * tap.share;
    }
  };
  for (int y = 0; y < wanted.height; y++) {
    const Tap& tap = rows[static_cast<std::size_t>(y)];
    if (tap.first == lower_line) {
      std::swap(upper, lower);
      std::swap(upper_line, lower_line);
    }
    if (tap.first != upper_line) across(upper_line = tap.first, upper);
    if (tap.second != lower_line) across(lower_line = tap.second, lower);
    for (std::size_t i = 0; i < width; i++) row[i] = upper[i] * (1 - tap.share) + lower[i] * tap.share;
    take(row.data(), y);
  }
}

}  // namespace

void each_image_row(const float* logits, const Transform& transform, const TakeRow& take) {
  const int side = transform.low_res_side();
  const Size low{side, side};
  if (transform.one_step) {
    each_row(logits, low, side, transform.original, transform.original, take);
    return;
  }
  const Size full{transform.image_size, transform.image_size};
  const int width = transform.input.width;
  std::vector<float> input(pixels(transform.input));
  each_row(logits, low, side, full, transform.input, [&](const float* row, int y) {
    std::copy_n(row, width, input.data() + static_cast<std::ptrdiff_t>(y) * width);
  });
  each_row(input.data(), transform.input, width, transform.original, transform.original, take);
}

}  // namespace samdeploy::internal
