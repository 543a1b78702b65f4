#include "picture.hpp"

#include <climits>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <memory>

#include "arguments.hpp"

#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_FAILURE_USERMSG
#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#endif
#include <stb/stb_image.h>
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

namespace cli {

Picture read_picture(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  const std::vector<std::uint8_t> file{std::istreambuf_iterator<char>(in), {}};
  if (!in || file.empty() || file.size() > INT_MAX) refuse("image '" + path + "' cannot be read; check the path.");
  const auto size = static_cast<int>(file.size());
  // Of these `stb_image` makes another picture of 8 bits than Python.
  if (stbi_is_16_bit_from_memory(file.data(), size) != 0 || stbi_is_hdr_from_memory(file.data(), size) != 0) {
    refuse("image '" + path +
           "' has more than 8 bits a channel; this program reads 8, convert it or run the bundle with Python.");
  }
  int width = 0;
  int height = 0;
  int channels = 0;
  const std::unique_ptr<stbi_uc, void (*)(void*)> pixels(
      stbi_load_from_memory(file.data(), size, &width, &height, &channels, 3), stbi_image_free);
  if (!pixels) refuse("'" + path + "' cannot be read as an image (" + stbi_failure_reason() + "); check the file.");
  const auto bytes = std::size_t{3} * static_cast<std::size_t>(width) * static_cast<std::size_t>(height);
  const int orientation = orientation_of(file);
  if (orientation == 0) {
    std::fprintf(stderr, "image '%s' has EXIF data whose orientation cannot be read; it is taken as upright.\n",
                 path.c_str());
  }
  return upright({{pixels.get(), pixels.get() + bytes}, width, height}, orientation);
}

}  // namespace cli
