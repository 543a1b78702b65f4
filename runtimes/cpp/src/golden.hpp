// The golden answer of a bundle: a click whose outcome is known, to prove a device with.
#pragma once

#include <string>
#include <vector>

#include "decode.hpp"
#include "resize.hpp"

namespace samdeploy::internal {

/// The picture of the worked example in docs/embedding.md: a disc on a gradient, all in whole numbers.
Rgb example_picture(Size size);

/// Compare the answer to the golden click alone, of a picture that was encoded by `transform`. Throws `Error` (runtime)
/// where `provider` is wrong.
void check_answer(const Golden& golden, const Answer& answer, const Transform& transform, const std::string& provider);

}  // namespace samdeploy::internal
