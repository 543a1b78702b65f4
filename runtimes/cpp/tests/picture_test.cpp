// Which image files the program reads as Python does, and that it says so where it would not.
#include "picture.hpp"

#include <cstdio>
#include <fstream>

#include "check.hpp"

namespace {

void write(const std::string& path, const std::string& content) { std::ofstream(path, std::ios::binary) << content; }

/// The beginning of a PNG file of one RGB pixel, up to where its first chunk ends.
std::string png(char bits) {
  return std::string("\x89PNG\r\n\x1A\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1", 24) + bits + std::string("\2\0\0\0....", 8);
}

void test_depth(const std::string& path) {
  write(path, "P6 2 1 255 abcdef");
  const cli::Picture found = cli::read_picture(path);
  const std::vector<std::uint8_t> expected{'a', 'b', 'c', 'd', 'e', 'f'};
  check(found.data == expected && found.width == 2 && found.height == 1, "a picture of 8 bits");
  for (const std::string& deep : {std::string("P6 1 1 65535 abcdef"), png(16), std::string("#?RADIANCE\n")}) {
    write(path, deep);
    check_refused(samdeploy::Fault::input, "more than 8 bits a channel", [&] { cli::read_picture(path); });
  }
  write(path, png(8));
  check_refused(samdeploy::Fault::input, "cannot be read as an image", [&] { cli::read_picture(path); });
  std::remove(path.c_str());
  check_refused(samdeploy::Fault::input, "cannot be read; check the path", [&] { cli::read_picture(path); });
}

}  // namespace

int main(int, char** arguments) {
  test_depth(std::string(arguments[1]) + "/picture");
  return failures();
}
