#include "results.hpp"

#include <cmath>

namespace cli {
namespace {

namespace fs = std::filesystem;
using samdeploy::Fault;

double rounded(float value) { return std::round(static_cast<double>(value) * 1e6) / 1e6; }

}  // namespace

Json record_of(const std::vector<samdeploy::Mask>& masks, const Picture& picture) {
  Json found = Json::array();
  for (const samdeploy::Mask& mask : masks) {
    const samdeploy::Box box = mask.box();
    const samdeploy::RunLengths runs = mask.run_lengths();
    Json entry{{"score", rounded(mask.score())},
               {"box", {box.x1, box.y1, box.x2, box.y2}},
               {"area", mask.area()},
               {"prompt", mask.prompt()},
               {"segmentation", {{"size", {runs.size.height, runs.size.width}}, {"counts", runs.counts}}}};
    // Undefined for an empty mask, which is null then.
    if (mask.stability()) entry["stability"] = rounded(*mask.stability());
    if (mask.point()) entry["point"] = {mask.point()->x, mask.point()->y};
    found.push_back(std::move(entry));
  }
  return {{"size", {picture.height, picture.width}}, {"masks", found}};
}

fs::path output_folder(const std::string& asked) {
  try {
    if (!asked.empty()) {
      fs::create_directories(asked);
      return asked;
    }
    fs::create_directories("runs");
    for (int number = 1;; number++) {
      const fs::path folder = fs::path("runs") / ("predict" + (number == 1 ? "" : std::to_string(number)));
      if (fs::create_directory(folder)) return folder;
    }
  } catch (const fs::filesystem_error&) {
    throw samdeploy::Error(Fault::output, "output '" + asked + "' cannot be written to; choose another folder.");
  }
}

std::string npy_of(const std::vector<samdeploy::Mask>& masks, int side) {
  constexpr std::size_t before = 10;
  constexpr std::size_t aligned = 64;
  const std::string sides = std::to_string(side) + ", " + std::to_string(side);
  std::string header =
      "{'descr': '<f4', 'fortran_order': False, 'shape': (" + std::to_string(masks.size()) + ", " + sides + "), }";
  header.append(aligned - 1 - (before + header.size()) % aligned, ' ');
  header += '\n';
  std::string content("\x93NUMPY\x01\x00", 8);
  content += static_cast<char>(header.size() % 256);
  content += static_cast<char>(header.size() / 256);
  content += header;
  for (const samdeploy::Mask& mask : masks) {
    const auto& logits = mask.logits();
    content.append(reinterpret_cast<const char*>(logits.data()), logits.size() * sizeof(float));
  }
  return content;
}

}  // namespace cli
