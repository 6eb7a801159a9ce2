// The two tables of filters that find_filter searches.
#pragma once

#include <span>
#include <string_view>
#include <utility>

#include "text/jinja/callable.hpp"

namespace baton::text::jinja {

using Filter = std::pair<std::string_view, FilterFunction>;

std::span<const Filter> value_filters();
std::span<const Filter> sequence_filters();

}  // namespace baton::text::jinja
