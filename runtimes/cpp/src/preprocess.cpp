#include "preprocess.hpp"

#include <algorithm>
#include <limits>

#include "text.hpp"

namespace samdeploy::internal {
namespace {

constexpr std::int64_t most_pixels = std::int64_t{1} << 28;

/// Where red, green and blue are in a pixel, and its bytes.
struct Layout {
  std::array<int, 3> channels;
  int bytes;
};

Layout layout_of(PixelFormat format) {
  switch (format) {
    case PixelFormat::rgb:
      return {{0, 1, 2}, 3};
    case PixelFormat::bgr:
      return {{2, 1, 0}, 3};
    case PixelFormat::grey:
      return {{0, 0, 0}, 1};
    case PixelFormat::rgba:
      return {{0, 1, 2}, 4};
    case PixelFormat::bgra:
      return {{2, 1, 0}, 4};
  }
  refuse(Fault::input, "pixel format ", static_cast<int>(format), "; expected one of PixelFormat.");
}

std::vector<float> resized(const Rgb& image, Size size, const Steps& steps) {
  const auto floats = [](const Rgb& bytes) { return std::vector<float>(bytes.data.begin(), bytes.data.end()); };
  if (image.size == size) return floats(image);
  if (steps.resampling == Resampling::bilinear && steps.rounding == Rounding::nearest) {
    return floats(resize_bytes(image, size));
  }
  std::vector<float> values = resample(image, size, steps.resampling);
  if (steps.rounding == Rounding::none) return values;
  const float up = steps.rounding == Rounding::nearest ? 0.5F : 0.0F;
  for (float& value : values) value = std::clamp(std::floor(value + up), 0.0F, 255.0F);
  return values;
}

}  // namespace

Rgb to_rgb(const ImageView& image) {
  const Layout layout = layout_of(image.format);
  if (image.data == nullptr || image.width < 1 || image.height < 1 ||
      std::int64_t{image.width} * image.height > most_pixels) {
    refuse(Fault::input, "an image of ", image.width, " x ", image.height, " pixels", image.data ? "" : " without data",
           "; expected at least one pixel and at most ", most_pixels, ".");
  }
  const std::ptrdiff_t packed = std::ptrdiff_t{image.width} * layout.bytes;
  const std::ptrdiff_t stride = image.stride == 0 ? packed : image.stride;
  const std::ptrdiff_t most = std::numeric_limits<std::ptrdiff_t>::max() / image.height;
  if ((stride < packed && stride > -packed) || stride > most || stride < -most) {
    refuse(Fault::input, "an image with a stride of ", stride, " bytes; expected at least ", packed, " for ",
           image.width, " pixels.");
  }
  Rgb out{{image.height, image.width}, {}};
  out.data.resize(pixels(out.size) * 3);
  std::uint8_t* to = out.data.data();
  const auto [red, green, blue] = layout.channels;
  for (int y = 0; y < image.height; y++) {
    const std::uint8_t* from = image.data + y * stride;
    if (image.format == PixelFormat::rgb) {
      to = std::copy_n(from, packed, to);
      continue;
    }
    for (int x = 0; x < image.width; x++, from += layout.bytes) {
      *to++ = from[red];
      *to++ = from[green];
      *to++ = from[blue];
    }
  }
  return out;
}

Tensor preprocess(const Rgb& image, const Transform& transform, const Steps& steps) {
  const std::vector<float> values = resized(image, transform.input, steps);
  float low = 0;
  float factor = 1;
  if (steps.min_max) {
    const auto [least, most] = std::minmax_element(values.begin(), values.end());
    low = *least;
    factor = static_cast<float>(255.0 / std::max(static_cast<double>(*most) - static_cast<double>(low), 1e-8));
  }
  const auto side = static_cast<std::size_t>(transform.image_size);
  const auto height = static_cast<std::size_t>(transform.input.height);
  const auto width = static_cast<std::size_t>(transform.input.width);
  Tensor out{{1, 3, transform.image_size, transform.image_size}, std::vector<float>(3 * side * side)};
  for (std::size_t channel = 0; channel < 3; channel++) {
    float* plane = out.data.data() + channel * side * side;
    const float pad = steps.pad[channel];
    for (std::size_t y = 0; y < side; y++) {
      float* row = plane + y * side;
      const std::size_t inside = y < height ? width : 0;
      const float* from = values.data() + y * width * 3 + channel;
      for (std::size_t x = 0; x < inside; x++) row[x] = (from[3 * x] - low) * factor;
      std::fill(row + inside, row + side, pad);
    }
  }
  return out;
}

}  // namespace samdeploy::internal
