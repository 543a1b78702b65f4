// What was found, as files.
#pragma once

#include <filesystem>

#include "arguments.hpp"
#include "orientation.hpp"

namespace cli {

/// As Python's `Masks.to_json`.
Json record_of(const std::vector<samdeploy::Mask>& masks, const Picture& picture);

/// The first of runs/predict, runs/predict2... that is free, or the one that was asked for.
std::filesystem::path output_folder(const std::string& asked);

/// Low-res logits of masks as a file of NumPy's: float32 `[masks, side, side]`.
std::string npy_of(const std::vector<samdeploy::Mask>& masks, int side);

}  // namespace cli
