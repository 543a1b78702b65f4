#include "resize.hpp"

#include <algorithm>
#include <cmath>

namespace samdeploy::internal {
namespace {

/// Of every output of an axis: the first input that it reads, and the weights from there on.
struct Window {
  int first;
  std::vector<double> weights;
};
using Windows = std::vector<Window>;

struct Filter {
  double reach;
  double (*at)(double distance);
};

double triangle_at(double x) { return std::max(0.0, 1.0 - std::abs(x)); }

/// Keys' cubic with a = -0.5.
double cubic_at(double x) {
  const double d = std::abs(x);
  if (d < 1) return (1.5 * d - 2.5) * d * d + 1;
  return d < 2 ? ((-0.5 * d + 2.5) * d - 4) * d + 2 : 0;
}

constexpr Filter triangle{1, triangle_at};
constexpr Filter cubic{2, cubic_at};

/// The filter widens with the factor when the axis shrinks, which is what antialiases.
Windows filtered(int length, int new_length, const Filter& filter) {
  const double scale = static_cast<double>(length) / new_length;
  const double widened = std::max(scale, 1.0);
  const double reach = filter.reach * widened;
  Windows windows(static_cast<std::size_t>(new_length));
  for (int i = 0; i < new_length; i++) {
    const double centre = (i + 0.5) * scale;
    const int start = std::max(0, static_cast<int>(centre - reach + 0.5));
    const int stop = std::min(length, static_cast<int>(centre + reach + 0.5));
    Window& window = windows[static_cast<std::size_t>(i)];
    window.first = start;
    double sum = 0;
    for (int x = start; x < stop; x++) {
      window.weights.push_back(filter.at((x - centre + 0.5) * (1 / widened)));
      sum += window.weights.back();
    }
    if (sum != 0) {
      for (double& weight : window.weights) weight /= sum;
    }
  }
  return windows;
}

Windows covered(int length, int new_length) {
  const double scale = static_cast<double>(length) / new_length;
  Windows windows(static_cast<std::size_t>(new_length));
  for (int i = 0; i < new_length; i++) {
    const double from = i * scale;
    const double to = std::min((i + 1) * scale, static_cast<double>(length));
    const int start = static_cast<int>(std::floor(from + 1e-6));
    const int stop = std::min(length, std::max(start + 1, static_cast<int>(std::ceil(to - 1e-6))));
    Window& window = windows[static_cast<std::size_t>(i)];
    window.first = start;
    for (int x = start; x < stop; x++) {
      window.weights.push_back((std::min(to, x + 1.0) - std::max(from, static_cast<double>(x))) / (to - from));
    }
  }
  return windows;
}

Windows touched(int length, int new_length) {
  const double scale = static_cast<double>(length) / new_length;
  Windows windows(static_cast<std::size_t>(new_length));
  for (int i = 0; i < new_length; i++) {
    const int left = std::min(static_cast<int>(std::floor(i * scale)), length - 1);
    const double beyond = i + 1 - (left + 1) / scale;
    const double share = beyond <= 0 || left == length - 1 ? 0 : beyond - std::floor(beyond);
    windows[static_cast<std::size_t>(i)] = {
        left, share != 0 ? std::vector<double>{1 - share, share} : std::vector<double>{1}};
  }
  return windows;
}

/// Weights are whole numbers of this many bits behind the point, and each pass rounds to 8 bits.
constexpr int bits = 22;

struct WholeWindow {
  int first;
  std::vector<std::int32_t> weights;
};

std::vector<WholeWindow> whole(const Windows& windows) {
  std::vector<WholeWindow> result;
  result.reserve(windows.size());
  for (const Window& window : windows) {
    WholeWindow rounded{window.first, {}};
    for (double weight : window.weights) {
      rounded.weights.push_back(static_cast<std::int32_t>(weight * (1 << bits) + (weight < 0 ? -0.5 : 0.5)));
    }
    result.push_back(std::move(rounded));
  }
  return result;
}

std::uint8_t to_byte(std::int32_t sum) { return static_cast<std::uint8_t>(std::clamp(sum >> bits, 0, 255)); }

std::vector<std::uint8_t> rows_of_bytes(const std::vector<std::uint8_t>& data, const Windows& axis, int lines,
                                        int length) {
  const auto windows = whole(axis);
  std::vector<std::uint8_t> out(static_cast<std::size_t>(lines) * windows.size() * 3);
  std::uint8_t* to = out.data();
  for (int line = 0; line < lines; line++) {
    const std::uint8_t* row = data.data() + static_cast<std::size_t>(line) * static_cast<std::size_t>(length) * 3;
    for (const WholeWindow& window : windows) {
      const std::uint8_t* from = row + static_cast<std::size_t>(window.first) * 3;
      std::int32_t red = 1 << (bits - 1);
      std::int32_t green = red;
      std::int32_t blue = red;
      for (std::int32_t weight : window.weights) {
        red += from[0] * weight;
        green += from[1] * weight;
        blue += from[2] * weight;
        from += 3;
      }
      *to++ = to_byte(red);
      *to++ = to_byte(green);
      *to++ = to_byte(blue);
    }
  }
  return out;
}

std::vector<std::uint8_t> columns_of_bytes(const std::vector<std::uint8_t>& data, const Windows& axis,
                                           std::size_t stride) {
  std::vector<std::uint8_t> out(axis.size() * stride);
  std::vector<std::int32_t> sums(stride);
  std::uint8_t* to = out.data();
  for (const WholeWindow& window : whole(axis)) {
    std::fill(sums.begin(), sums.end(), 1 << (bits - 1));
    const std::uint8_t* from = data.data() + static_cast<std::size_t>(window.first) * stride;
    for (std::int32_t weight : window.weights) {
      for (std::size_t x = 0; x < stride; x++) sums[x] += from[x] * weight;
      from += stride;
    }
    for (std::size_t x = 0; x < stride; x++) *to++ = to_byte(sums[x]);
  }
  return out;
}

/// Along the lines, `[lines, length, channels]` to `[lines, new length, channels]`: summed in double, kept in float.
std::vector<float> rows_of_floats(const std::vector<float>& data, const Windows& axis, int lines, int length,
                                  int channels) {
  std::vector<float> out;
  out.reserve(static_cast<std::size_t>(lines) * axis.size() * static_cast<std::size_t>(channels));
  for (int line = 0; line < lines; line++) {
    for (const Window& window : axis) {
      for (int channel = 0; channel < channels; channel++) {
        std::size_t from = (static_cast<std::size_t>(line) * static_cast<std::size_t>(length) +
                            static_cast<std::size_t>(window.first)) *
                               static_cast<std::size_t>(channels) +
                           static_cast<std::size_t>(channel);
        double sum = 0;
        for (double weight : window.weights) {
          sum += data[from] * weight;
          from += static_cast<std::size_t>(channels);
        }
        out.push_back(static_cast<float>(sum));
      }
    }
  }
  return out;
}

/// Across the lines, of `stride` values each.
std::vector<float> columns_of_floats(const std::vector<float>& data, const Windows& axis, std::size_t stride) {
  std::vector<float> out;
  out.reserve(axis.size() * stride);
  std::vector<double> sums(stride);
  for (const Window& window : axis) {
    std::fill(sums.begin(), sums.end(), 0.0);
    const float* from = data.data() + static_cast<std::size_t>(window.first) * stride;
    for (double weight : window.weights) {
      for (std::size_t x = 0; x < stride; x++) sums[x] += from[x] * weight;
      from += stride;
    }
    for (double sum : sums) out.push_back(static_cast<float>(sum));
  }
  return out;
}

std::size_t row_length(int width, int channels) {
  return static_cast<std::size_t>(width) * static_cast<std::size_t>(channels);
}

}  // namespace

Rgb resize_bytes(const Rgb& image, Size size) {
  Rgb out{size, {}};
  const bool other_width = image.size.width != size.width;
  if (other_width) {
    const auto axis = filtered(image.size.width, size.width, triangle);
    out.data = rows_of_bytes(image.data, axis, image.size.height, image.size.width);
  }
  const auto& lines = other_width ? out.data : image.data;
  if (image.size.height != size.height) {
    const auto axis = filtered(image.size.height, size.height, triangle);
    out.data = columns_of_bytes(lines, axis, row_length(size.width, 3));
  } else if (!other_width) {
    out.data = image.data;
  }
  return out;
}

std::vector<float> resample(const Rgb& image, Size size, Resampling kind) {
  std::vector<float> data(image.data.begin(), image.data.end());
  if (kind == Resampling::area) return resize_area(data, image.size, size, 3);
  const Filter& filter = kind == Resampling::bilinear ? triangle : cubic;
  const auto [height, width] = image.size;
  if (width != size.width) data = rows_of_floats(data, filtered(width, size.width, filter), height, width, 3);
  if (height != size.height) {
    data = columns_of_floats(data, filtered(height, size.height, filter), row_length(size.width, 3));
  }
  return data;
}

std::vector<float> resize_area(const std::vector<float>& values, Size size, Size new_size, int channels) {
  const bool shrinks = size.height >= new_size.height && size.width >= new_size.width;
  const auto axis = shrinks ? covered : touched;
  const auto lines = rows_of_floats(values, axis(size.width, new_size.width), size.height, size.width, channels);
  return columns_of_floats(lines, axis(size.height, new_size.height), row_length(new_size.width, channels));
}

}  // namespace samdeploy::internal
