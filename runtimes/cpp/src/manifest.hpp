// What this library reads of a bundle.json.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "families.hpp"
#include "rle.hpp"
#include "shapes.hpp"

namespace samdeploy::internal {

struct FileRecord {
  std::string path;
  std::uint64_t bytes = 0;
  std::string sha256;
};

struct TensorRecord {
  std::string name;
  Sides sides;
  /// The same, -1 where a side has a name.
  Shape shape;
  /// Whether the first dimension is the number of prompts.
  bool per_prompt = false;
};

struct GraphRecord {
  std::string role;
  /// The graph first, then its side files.
  std::vector<FileRecord> files;
  std::vector<TensorRecord> inputs;
  std::vector<TensorRecord> outputs;
  /// Whether its files take certain numbers of prompts and points alone, whatever the shapes above say.
  bool fixed_shapes = false;
};

/// One click on a picture that a formula makes, and what the reference answers; see golden.hpp.
struct Golden {
  Size picture;
  Point point;
  /// Of all outputs of the decoder.
  std::vector<float> iou;
  /// Output 0 at the picture's size.
  Runs mask;
};

struct Manifest {
  std::string architecture;
  int image_size = 0;
  std::string precision;
  std::string format;
  std::string runtime;
  std::string licence;
  Family family;
  Steps steps;
  /// What the model recommends.
  WholeImageSettings whole_image;
  std::map<std::string, GraphRecord> graphs;
  std::optional<Golden> golden;
};

/// Read and check `bundle.json` of a folder. Throws `Error` (bundle) for what does not fit.
Manifest read_manifest(const std::filesystem::path& folder);

}  // namespace samdeploy::internal
