// What tools/web_cases.py has written: bundles, pictures and Python's answers.
#pragma once

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "check.hpp"
#include "rle.hpp"

using Json = nlohmann::json;

struct Picture {
  std::vector<std::uint8_t> rgba;
  int width = 0;
  int height = 0;

  samdeploy::ImageView view() const { return {rgba.data(), width, height, samdeploy::PixelFormat::rgba, 0}; }
};

class Cases {
 public:
  explicit Cases(std::string folder) : folder_(std::move(folder)) {
    std::ifstream file(folder_ + "/cases.json");
    if (!file) throw std::runtime_error("no cases in '" + folder_ + "'; make them with tools/web_cases.py");
    file >> json_;
  }

  const Json& operator[](const char* name) const { return json_.at(name); }
  std::string path(const std::string& name) const { return folder_ + "/" + name; }

  std::vector<std::uint8_t> bytes(const std::string& name) const {
    std::ifstream file(path(name), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  Picture picture(const std::string& name) const {
    const Json& size = json_.at("pictures").at(name);
    return {bytes(name + ".rgba"), size[1], size[0]};
  }

 private:
  std::string folder_;
  Json json_;
};

/// In two threads, of a backend by its name.
inline samdeploy::OpenOptions options_for(const char* backend) {
  samdeploy::OpenOptions options;
  options.backend = backend;
  options.threads = 2;
  return options;
}

inline samdeploy::internal::Bitmap decoded(const Json& rle) {
  const Json& size = rle.at("size");
  return samdeploy::internal::Runs::from_coco({{size[0], size[1]}, rle.at("counts")}).decode();
}

/// Pixels in which a mask is not the expected one.
inline std::size_t differing(const samdeploy::internal::Bitmap& found, const samdeploy::internal::Bitmap& expected) {
  if (found.size() != expected.size()) return found.size() + expected.size();
  std::size_t count = 0;
  for (std::size_t i = 0; i < found.size(); i++) count += found[i] != expected[i] ? 1 : 0;
  return count;
}
