// Settings of whole-image mode.
#pragma once

#include "samdeploy/samdeploy.hpp"

namespace samdeploy::internal {

/// Throw what is out of range.
void check_settings(const WholeImageSettings& settings);

/// Grid points along a side of the crops of a layer; 0 is the whole image.
int points_along(const WholeImageSettings& settings, int layer);

}  // namespace samdeploy::internal
