// Image files to upright pictures.
#pragma once

#include <string>

#include "orientation.hpp"

namespace cli {

/// What `stb_image` reads and has 8 bits a channel, with the orientation of a JPEG file applied.
Picture read_picture(const std::string& path);

}  // namespace cli
