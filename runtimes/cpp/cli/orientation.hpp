// Which way up a photograph is.
#pragma once

#include <cstdint>
#include <vector>

namespace cli {

/// RGB, row by row.
struct Picture {
  std::vector<std::uint8_t> data;
  int width = 0;
  int height = 0;
};

/// The orientation that a JPEG file tells, 1 (upright) to 8: by EXIF, or where that does not say by XMP, as Pillow has
/// it. 1 where there is none, 0 where what is told cannot be understood.
int orientation_of(const std::vector<std::uint8_t>& file);

/// The picture turned and mirrored as an orientation asks.
Picture upright(Picture stored, int orientation);

}  // namespace cli
