// Pixels to another size.
#pragma once

#include <cstdint>
#include <vector>

#include "geometry.hpp"

namespace samdeploy::internal {

/// RGB pixels of an image, row by row, three bytes each.
struct Rgb {
  Size size;
  std::vector<std::uint8_t> data;
};

/// Bilinear and antialiased, in the arithmetic of 8 bits that Pillow has: the same bytes.
Rgb resize_bytes(const Rgb& image, Size size);

enum class Resampling { bilinear, bicubic, area };

/// The same in 0-255, not rounded.
std::vector<float> resample(const Rgb& image, Size size, Resampling kind);

/// The mean of the pixels that each new one covers; where an axis grows, between the two pixels that a new one touches
/// by how much of each it does (OpenCV's `INTER_AREA`).
std::vector<float> resize_area(const std::vector<float>& values, Size size, Size new_size, int channels);

}  // namespace samdeploy::internal
