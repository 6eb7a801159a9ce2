// Jinja's filters on sequences and mappings. Where Jinja gives a generator, these give a list.
#include <algorithm>

#include "text/jinja/filters.hpp"
#include "text/jinja/strings.hpp"

namespace baton::text::jinja {
namespace {

// "a.b.0" as attribute= takes it.
Value follow_path(Context& c, Value value, std::string_view path) {
  for (const std::string_view part : split(path, ".", -1)) {
    if (value.is_undefined())
      return c.fail("an undefined value has no attribute '" + std::string(part) + "'");
    const bool number =
        !part.empty() && std::all_of(part.begin(), part.end(), [](char d) { return d >= '0' && d <= '9'; });
    if (number && part.size() < 10) {
      value = get_item(c, value, Value(static_cast<std::int64_t>(std::stoll(std::string(part)))));
    } else {
      // A filter looks items up first, then attributes.
      const Dict* dict = value.as_dict();
      const Value* found = dict == nullptr ? nullptr : dict->find_name(part);
      value = found != nullptr ? *found : get_attribute(value, part);
    }
  }
  return value;
}

Value follow(Context& c, const Value& value, const Value& path) {
  if (const auto index = path.as_integer()) return get_item(c, value, Value(*index));
  return follow_path(c, value, to_text(path));
}

// What is compared: the attribute, in lower case unless case counts.
Value sort_key(Context& c, const Value& value, const Value* attribute, bool case_sensitive) {
  Value key = attribute == nullptr || attribute->is_none() ? value : follow(c, value, *attribute);
  const std::string* text = key.as_string();
  return text != nullptr && !case_sensitive ? Value(lower(*text)) : key;
}

bool flag(const Arguments& a, std::size_t position, std::string_view name) {
  const Value* value = a.find(position, name);
  return value != nullptr && value->truthy();
}

// Sorted by keys, equal ones in their old order; false after a failure.
bool sort_by(Context& c, std::vector<std::pair<Value, Value>>& keyed, bool reverse) {
  std::size_t weight = 0;
  for (const auto& [key, value] : keyed) weight += key.weight();
  if (!c.charge(weight * 20)) return false;
  for (std::size_t i = 0; i + 1 < keyed.size(); ++i) {
    if (compare(keyed[i].first, keyed[i + 1].first)) continue;
    c.fail(std::string("'<' not supported between instances of '") + keyed[i].first.type_name() + "' and '" +
           keyed[i + 1].first.type_name() + "'");
    return false;
  }
  std::stable_sort(keyed.begin(), keyed.end(), [reverse](const auto& x, const auto& y) {
    const int order = compare(x.first, y.first).value_or(0);
    return reverse ? order > 0 : order < 0;
  });
  return true;
}

Value values_of(std::vector<std::pair<Value, Value>> keyed) {
  std::vector<Value> values;
  for (auto& [key, value] : keyed) values.push_back(std::move(value));
  return make_list(std::move(values));
}

Value length_filter(Context& c, const Value& v, const Arguments&) {
  if (v.is_undefined()) return std::int64_t{0};
  if (const auto* text = v.as_string()) return static_cast<std::int64_t>(length(*text));
  if (const auto* list = v.as_list()) return static_cast<std::int64_t>(list->items.size());
  if (const auto* dict = v.as_dict()) return static_cast<std::int64_t>(dict->entries().size());
  return c.fail(std::string("object of type '") + v.type_name() + "' has no len()");
}

Value join(Context& c, const Value& v, const Arguments& a) {
  const Value* separator = a.find(0, "d");
  const Value* attribute = a.find(1, "attribute");
  const std::string between = separator == nullptr ? "" : to_text(*separator);
  const std::vector<Value> items = iterate(c, v);
  if (c.failed() || !c.charge(items.size() * between.size())) return {};
  std::string out;
  for (std::size_t i = 0; i < items.size() && !c.failed(); ++i) {
    if (i > 0) out += between;
    out += to_text(attribute == nullptr || attribute->is_none() ? items[i] : follow(c, items[i], *attribute));
  }
  return out;
}

Value list(Context& c, const Value& v, const Arguments&) { return make_list(iterate(c, v)); }

Value items(Context& c, const Value& v, const Arguments&) {
  if (v.is_undefined()) return make_list({});
  const Dict* dict = v.as_dict();
  if (dict == nullptr) return c.fail("Can only get item pairs from a mapping.");
  std::vector<Value> pairs;
  for (const auto& [key, value] : dict->entries()) pairs.push_back(make_tuple({key, value}));
  return make_list(std::move(pairs));
}

Value first(Context& c, const Value& v, const Arguments&) {
  const auto all = iterate(c, v);
  return all.empty() ? make_undefined("No first item, sequence was empty.") : all.front();
}

Value last(Context& c, const Value& v, const Arguments&) {
  const auto all = iterate(c, v);
  return all.empty() ? make_undefined("No last item, sequence was empty.") : all.back();
}

Value reverse(Context& c, const Value& v, const Arguments&) {
  auto all = iterate(c, v);
  std::reverse(all.begin(), all.end());
  if (v.as_string() == nullptr) return make_list(std::move(all));
  std::string text;
  for (const Value& character : all) text += to_text(character);
  return text;
}

Value dictsort(Context& c, const Value& v, const Arguments& a) {
  const Value* by = a.find(1, "by");
  const bool by_value = by != nullptr && to_text(*by) == "value";
  const Dict* dict = v.as_dict();
  if (dict == nullptr) return c.fail("dictsort needs a mapping");
  std::vector<std::pair<Value, Value>> keyed;
  for (const auto& [key, value] : dict->entries()) {
    keyed.emplace_back(sort_key(c, by_value ? value : key, nullptr, flag(a, 0, "case_sensitive")),
                       make_tuple({key, value}));
  }
  return sort_by(c, keyed, flag(a, 2, "reverse")) ? values_of(std::move(keyed)) : Value();
}

Value sort(Context& c, const Value& v, const Arguments& a) {
  std::vector<std::pair<Value, Value>> keyed;
  for (Value& item : iterate(c, v)) {
    Value key = sort_key(c, item, a.find(2, "attribute"), flag(a, 1, "case_sensitive"));
    keyed.emplace_back(std::move(key), std::move(item));
  }
  return !c.failed() && sort_by(c, keyed, flag(a, 0, "reverse")) ? values_of(std::move(keyed)) : Value();
}

Value unique(Context& c, const Value& v, const Arguments& a) {
  Dict seen;
  std::vector<Value> kept;
  for (Value& item : iterate(c, v)) {
    Value key = sort_key(c, item, a.find(1, "attribute"), flag(a, 0, "case_sensitive"));
    if (c.failed() || !c.charge(key.as_string() == nullptr ? seen.entries().size() : 1)) return {};
    if (seen.find(key) != nullptr) continue;
    seen.set(std::move(key), Value(true));
    kept.push_back(std::move(item));
  }
  return make_list(std::move(kept));
}

template <bool greatest>
Value extreme(Context& c, const Value& v, const Arguments& a) {
  const auto all = iterate(c, v);
  if (all.empty()) return make_undefined("No aggregated item, sequence was empty.");
  std::size_t best = 0;
  for (std::size_t i = 1; i < all.size(); ++i) {
    const Value* attribute = a.find(1, "attribute");
    const bool sensitive = flag(a, 0, "case_sensitive");
    const auto order =
        compare(sort_key(c, all[i], attribute, sensitive), sort_key(c, all[best], attribute, sensitive));
    if (!order) return c.fail("values that cannot be compared");
    if (greatest ? *order > 0 : *order < 0) best = i;
  }
  return all[best];
}

Value sum(Context& c, const Value& v, const Arguments& a) {
  const Value* attribute = a.find(0, "attribute");
  const Value* start = a.find(1, "start");
  Value total = start == nullptr ? Value(std::int64_t{0}) : *start;
  for (const Value& item : iterate(c, v)) {
    if (c.failed() || !c.charge(total.weight())) return {};
    total = apply_operator(c, "+", total,
                           attribute == nullptr || attribute->is_none() ? item : follow(c, item, *attribute));
  }
  return total;
}

// The arguments behind the first `count`.
Arguments behind(const Arguments& a, std::size_t count) {
  Arguments rest;
  for (std::size_t i = count; i < a.positional.size(); ++i) rest.positional.push_back(a.positional[i]);
  rest.named = a.named;
  return rest;
}

Value map(Context& c, const Value& v, const Arguments& a) {
  const Value* attribute = a.positional.empty() ? a.find(0, "attribute") : nullptr;
  if (attribute == nullptr && a.positional.empty()) return c.fail("map requires a filter argument");
  const Value* fallback = a.find(SIZE_MAX, "default");
  std::vector<Value> mapped;
  const Arguments rest = behind(a, 1);
  for (const Value& item : iterate(c, v)) {
    if (c.failed()) return {};
    if (attribute == nullptr) {
      mapped.push_back(c.filter(to_text(a.positional[0]), item, rest));
      continue;
    }
    Value found = follow(c, item, *attribute);
    mapped.push_back(found.is_undefined() && fallback != nullptr ? *fallback : std::move(found));
  }
  return make_list(std::move(mapped));
}

// select, reject, selectattr and rejectattr.
template <bool keep, bool by_attribute>
Value choose(Context& c, const Value& v, const Arguments& a) {
  constexpr std::size_t kTest = by_attribute ? 1 : 0;
  if (by_attribute && a.positional.empty()) return c.fail("the filter needs an attribute");
  const Arguments rest = behind(a, kTest + 1);
  std::vector<Value> kept;
  for (Value& item : iterate(c, v)) {
    const Value subject = by_attribute ? follow(c, item, a.positional[0]) : item;
    if (c.failed()) return {};
    const bool accepted =
        a.positional.size() > kTest ? c.test(to_text(a.positional[kTest]), subject, rest) : subject.truthy();
    if (accepted == keep) kept.push_back(std::move(item));
  }
  return make_list(std::move(kept));
}

Value batch(Context& c, const Value& v, const Arguments& a) {
  const Value* count = a.find(0, "linecount");
  const Value* fill = a.find(1, "fill_with");
  const std::int64_t size = count == nullptr ? 0 : count->as_integer().value_or(0);
  if (size < 1 || size > 100'000) return c.fail("batch needs a size");
  std::vector<Value> rows;
  std::vector<Value> row;
  for (Value& item : iterate(c, v)) {
    row.push_back(std::move(item));
    if (static_cast<std::int64_t>(row.size()) == size) rows.push_back(make_list(std::exchange(row, {})));
  }
  if (!row.empty()) {
    while (fill != nullptr && static_cast<std::int64_t>(row.size()) < size) row.push_back(*fill);
    rows.push_back(make_list(std::move(row)));
  }
  return make_list(std::move(rows));
}

Value groupby(Context& c, const Value& v, const Arguments& a) {
  const Value* attribute = a.find(0, "attribute");
  if (attribute == nullptr) return c.fail("groupby needs an attribute");
  std::vector<std::pair<Value, Value>> keyed;
  for (Value& item : iterate(c, v)) {
    Value key = follow(c, item, *attribute);
    keyed.emplace_back(std::move(key), std::move(item));
  }
  if (c.failed() || !sort_by(c, keyed, false)) return {};
  std::vector<Value> groups;
  for (std::size_t i = 0; i < keyed.size();) {
    std::vector<Value> members;
    const Value& key = keyed[i].first;
    while (i < keyed.size() && equal(keyed[i].first, key)) members.push_back(keyed[i++].second);
    groups.push_back(make_tuple({key, make_list(std::move(members))}));
  }
  return make_list(std::move(groups));
}

}  // namespace

std::span<const Filter> sequence_filters() {
  static constexpr Filter kFilters[] = {
      {"length", length_filter},
      {"count", length_filter},
      {"join", join},
      {"list", list},
      {"items", items},
      {"first", first},
      {"last", last},
      {"reverse", reverse},
      {"dictsort", dictsort},
      {"sort", sort},
      {"unique", unique},
      {"min", extreme<false>},
      {"max", extreme<true>},
      {"sum", sum},
      {"map", map},
      {"select", choose<true, false>},
      {"reject", choose<false, false>},
      {"selectattr", choose<true, true>},
      {"rejectattr", choose<false, true>},
      {"batch", batch},
      {"groupby", groupby},
  };
  return kFilters;
}

}  // namespace baton::text::jinja
