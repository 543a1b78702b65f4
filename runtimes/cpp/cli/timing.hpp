// How long each step takes, for `samdeploy benchmark`.
#pragma once

#include "arguments.hpp"
#include "orientation.hpp"

namespace cli {

/// Open the model and do what the arguments ask, again and again. As JSON: what computes, the seconds of every round of
/// every step, and the largest resident size of the process after it in bytes. Prompts and the whole image are measured
/// apart, so that each has memory of its own.
Json measure(const Arguments& arguments, const Picture& picture, const std::vector<samdeploy::Prompt>& prompts);

}  // namespace cli
