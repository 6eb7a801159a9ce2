// Arrays: their first elements each with a schema of its own, then any number with one.
#include <algorithm>

#include "text/grammar_text/regex_tree.hpp"
#include "text/grammar_text/schema_writer.hpp"

namespace baton::text {

namespace {

struct Elements {
  std::vector<std::string> first;
  std::optional<std::string> rest;  // none: no more elements
  std::size_t least = 0;
  std::size_t most = kNoLimit;
};

// `prefixItems` and `items`; in older drafts `items` is the list and `additionalItems` what follows.
Elements read(SchemaWriter& writer, const Json& schema, const SchemaPlace& place) {
  const auto items = schema.find("items");
  const bool old = items != schema.end() && items->is_array();
  const char* first = old ? "items" : "prefixItems";
  const char* rest = old ? "additionalItems" : "items";
  Elements elements;
  elements.least = writer.count(schema, place, "minItems", 0);
  elements.most = writer.count(schema, place, "maxItems", kNoLimit);
  if (const auto listed = schema.find(first); listed != schema.end()) {
    if (!listed->is_array()) writer.errors().invalid(path_of(place.path, first), "must be a list of schemas");
    for (std::size_t i = 0; listed->is_array() && i < std::min(listed->size(), elements.most); ++i) {
      const auto element = writer.value(
          (*listed)[i], {path_of(place.path, first) + "[" + std::to_string(i) + "]", {}, place.depth + 1});
      if (!element) {
        elements.most = i;
      } else {
        elements.first.push_back(*element);
      }
    }
  }
  if (elements.first.size() >= elements.most) return elements;
  const auto further = schema.find(rest);
  elements.rest =
      further == schema.end() ? json_value(writer.out()) : writer.value(*further, place.inside(rest));
  if (!elements.rest) elements.most = elements.first.size();
  return elements;
}

// What may follow the first `count` elements: each optional one holds those behind it.
std::string behind(SchemaWriter& writer, const Elements& elements) {
  const std::string comma = "\",\" " + json_space(writer.out()) + " ";
  std::size_t at = elements.first.size();
  std::string tail;
  if (elements.rest && elements.most > at) {
    const std::size_t most = elements.most == kNoLimit ? kNoLimit : elements.most - at;
    tail = "(" + comma + *elements.rest + ")" + repeated(elements.least > at ? elements.least - at : 0, most);
  }
  for (; at > 1; --at) {
    if (!tail.empty()) tail.insert(0, " ");
    tail.insert(0, elements.first[at - 1]).insert(0, comma);
    if (at > elements.least) tail.insert(0, "(").append(")?");
    if (at > elements.least || tail.size() > kLongText) tail = writer.out().rule("elements", tail);
  }
  return tail;
}

}  // namespace

std::optional<std::string> write_array(SchemaWriter& writer, const Json& schema, const SchemaPlace& place) {
  const SchemaPlace inside{place.path, {}, place.depth};
  Elements elements = read(writer, schema, inside);
  if (elements.least > elements.most) return writer.nothing(place, "minItems", "is more than there can be");
  if (elements.least > kMaxRepeats)
    writer.errors().set(ErrorCode::too_large, path_of(place.path, "minItems"), "is too many");
  if (elements.most != kNoLimit) elements.most = std::min(elements.most, kMaxRepeats);
  std::string members;
  if (elements.most > 0) {
    if (elements.first.empty()) elements.first.push_back(*elements.rest);
    const std::string tail = behind(writer, elements);
    members = elements.first[0] + (tail.empty() ? "" : " " + tail);
  }
  return writer.out().rule("array", json_enclosed(writer.out(), "[]", members, elements.least == 0));
}

}  // namespace baton::text
