// What the arguments ask of a model.
#pragma once

#include <vector>

#include "arguments.hpp"

namespace cli {

/// Each point is a prompt, a list of points is one; `[N, 2]` points with `[[...]]` labels are one prompt of `N`. None
/// where there are neither points nor boxes.
std::vector<samdeploy::Prompt> prompts_of(const Arguments& arguments);

samdeploy::Model open_model(const Arguments& arguments);

/// Those that the model recommends, but for what the arguments say.
samdeploy::WholeImageSettings settings_of(const Arguments& arguments, const samdeploy::Model& model);

}  // namespace cli
