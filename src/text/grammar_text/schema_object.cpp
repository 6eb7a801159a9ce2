// Objects: the declared properties in their order, each required or not, then any others.
//
// Written from the end: what may come from a property on is this one and what may come from the next on, or,
// where it is optional, also just the latter.
#include <algorithm>
#include <set>

#include "text/grammar_text/other_keys.hpp"
#include "text/grammar_text/regex_tree.hpp"
#include "text/grammar_text/schema_writer.hpp"

namespace baton::text {

namespace {

struct Property {
  std::string key;  // with the colon
  std::string value;
  bool required = false;
};

// As many optional properties stand beside each other.
constexpr std::size_t kBlock = 16;

class ObjectWriter {
 public:
  ObjectWriter(SchemaWriter& writer, const Json& schema, const SchemaPlace& place)
      : writer_(writer), out_(writer.out()), schema_(schema), place_{place.path, {}, place.depth} {}

  std::optional<std::string> written() {
    read_required();
    if (!read_further() || !read_properties() || !read_counts() || writer_.errors().any()) {
      return writer_.errors().any() ? std::optional<std::string>("") : std::nullopt;
    }
    const bool any_required = std::ranges::any_of(properties_, &Property::required) || further_least_ > 0;
    const bool optional = !any_required && !not_empty_;
    return out_.rule("object", json_enclosed(out_, "{}", members(), optional));
  }

 private:
  void read_required() {
    const auto found = schema_.find("required");
    if (found == schema_.end()) return;
    const auto is_name = [](const Json& name) { return name.is_string(); };
    if (!found->is_array() || !std::ranges::all_of(*found, is_name)) {
      writer_.errors().invalid(path_of(place_.path, "required"), "must be a list of names");
      return;
    }
    for (const Json& name : *found) {
      if (required_.insert(name.get<std::string>()).second)
        required_in_order_.push_back(name.get<std::string>());
    }
  }

  // additionalProperties and propertyNames: the value of other members, none where there may not be any.
  bool read_further() {
    const auto further = schema_.find("additionalProperties");
    further_ = further == schema_.end() ? json_value(out_)
                                        : writer_.value(*further, place_.inside("additionalProperties"));
    return true;
  }

  bool read_properties() {
    static const Json kNone = Json::object();
    const auto found = schema_.find("properties");
    const Json& declared = found == schema_.end() ? kNone : *found;
    if (!declared.is_object()) {
      writer_.errors().invalid(path_of(place_.path, "properties"), "must be an object");
      return false;
    }
    const SchemaPlace inside{path_of(place_.path, "properties"), {}, place_.depth};
    for (const auto& [name, schema] : declared.items()) {
      keys_.push_back(name);
      if (!add(name, writer_.value(schema, inside.inside(name))) || writer_.errors().any()) return false;
    }
    const std::set<std::string> known(keys_.begin(), keys_.end());
    for (const std::string& name : required_in_order_) {
      if (known.contains(name)) continue;
      keys_.push_back(name);
      if (!add(name, further_)) return false;
    }
    return read_names();
  }

  bool add(const std::string& name, const std::optional<std::string>& value) {
    writer_.errors().spend(kBlock * name.size());
    const bool required = required_.contains(name);
    if (!value && required) {
      (void)writer_.nothing(place_, "required", "wants \"" + name + "\", which nothing can follow");
      return false;
    }
    if (value) properties_.push_back({GrammarText::literal(json_quoted(name) + ":"), *value, required});
    return true;
  }

  bool read_names() {
    const auto names = schema_.find("propertyNames");
    if (names != schema_.end() && !keys_.empty()) {
      writer_.errors().unsupported(path_of(place_.path, "propertyNames"),
                                   "is not supported together with properties or required");
      return false;
    }
    if (!further_) return true;
    std::optional<std::string> key;
    if (names == schema_.end()) {
      // Each character becomes a rule: more than this is no grammar that compiles.
      constexpr std::size_t kMostText = 16 << 10;
      std::size_t size = 0;
      for (const std::string& name : keys_) size += name.size();
      if (size > kMostText) {
        writer_.errors().set(
            ErrorCode::too_large, path_of(place_.path, "properties"),
            "has too many names to tell others from them: set additionalProperties to false");
        return false;
      }
      key = other_keys(out_, keys_);
    } else {
      key = writer_.value_of_both(Json{{"type", "string"}}, *names, place_.inside("propertyNames"));
    }
    if (key) further_ = out_.rule("member", *key + " \":\" " + json_space(out_) + " " + *further_);
    if (!key) further_.reset();
    return true;
  }

  // minProperties and maxProperties, where they come to one of: no optional ones, all of them, not empty, or
  // a number of further ones.
  bool read_counts() {
    const std::size_t least = writer_.count(schema_, place_, "minProperties", 0);
    std::size_t most = writer_.count(schema_, place_, "maxProperties", kNoLimit);
    if (least > most) return nothing("minProperties", "is more than maxProperties");
    const auto required = static_cast<std::size_t>(std::ranges::count_if(properties_, &Property::required));
    if (most < required) return nothing("maxProperties", "is less than what is required");
    if (most == required && required < properties_.size())
      std::erase_if(properties_, [](const Property& property) { return !property.required; });
    if (!further_ && least > properties_.size()) return nothing("minProperties", "is more than there can be");
    if (!further_ && least == properties_.size()) {
      for (Property& property : properties_) property.required = true;
      return true;
    }
    not_empty_ = least == 1;
    const bool all_required = std::ranges::all_of(properties_, &Property::required);
    if (all_required && further_) {
      further_least_ = least > properties_.size() ? least - properties_.size() : 0;
      if (most != kNoLimit) further_most_ = most - properties_.size();
      if (further_most_ == 0) further_.reset();
      if (further_least_ > kMaxRepeats || (further_most_ > kMaxRepeats && further_most_ != kNoLimit))
        writer_.errors().set(ErrorCode::too_large, place_.path, "counts too many properties");
      return true;
    }
    if (least > std::max<std::size_t>(required, 1)) return unsupported("minProperties");
    if (most != kNoLimit && (further_ || most < properties_.size())) return unsupported("maxProperties");
    return true;
  }

  bool nothing(const char* keyword, const char* why) {
    (void)writer_.nothing(place_, keyword, why);
    return false;
  }
  bool unsupported(const char* keyword) {
    writer_.errors().unsupported(path_of(place_.path, keyword),
                                 "is not supported together with optional properties");
    return false;
  }

  // The members from property `i` on, the first of which is any that may come first there.
  std::string members() const {
    std::vector<Rest> rests(properties_.size() + 1);
    rests.back() = further_rest();
    for (std::size_t i = properties_.size(); i-- > 0;) {
      if (rests[i + 1].members.size() > kLongText)
        rests[i + 1].members = out_.rule("members", rests[i + 1].members);
      rests[i].value = joined(json_space(out_) + " " + properties_[i].value, tail(rests[i + 1]));
      rests[i].required = properties_[i].required || rests[i + 1].required;
      rests[i].members =
          properties_[i].required ? properties_[i].key + " " + rests[i].value : optional_rest(rests, i);
    }
    return rests[0].members;
  }

  // What may be written from one property on.
  struct Rest {
    std::string members;    // at least one; "" where there are none
    std::string value;      // behind the key of the first property, where that is there
    bool required = false;  // whether there must be one
  };

  // The keys stand beside each other, not behind a rule each: so they can be told apart character by
  // character. That makes the text as long as the square of a block.
  std::string optional_rest(const std::vector<Rest>& rests, std::size_t i) const {
    std::string members;
    const std::size_t end = std::min((i / kBlock + 1) * kBlock, properties_.size());
    for (;; ++i) {
      if (i == end)
        return out_.rule("members", members + (rests[end].members.empty() ? "" : " | " + rests[end].members));
      members +=
          (members.empty() ? "" : " | ") + properties_[i].key + " " + out_.rule("after", rests[i].value);
      if (properties_[i].required) return out_.rule("members", members);
    }
  }

  Rest further_rest() const {
    if (!further_) return {};
    const std::size_t least = std::max<std::size_t>(further_least_, 1) - 1;
    const std::size_t most = further_most_ == kNoLimit ? kNoLimit : further_most_ - 1;
    std::string members = *further_;
    if (most > 0) members += " (\",\" " + json_space(out_) + " " + *further_ + ")" + repeated(least, most);
    return {out_.rule("members", members), {}, further_least_ > 0};
  }

  std::string tail(const Rest& rest) const {
    if (rest.members.empty()) return {};
    const std::string written = "\",\" " + json_space(out_) + " " + rest.members;
    return rest.required ? written : "(" + written + ")?";
  }

  static std::string joined(const std::string& first, const std::string& behind) {
    return behind.empty() ? first : first + " " + behind;
  }

  SchemaWriter& writer_;
  GrammarText& out_;
  const Json& schema_;
  SchemaPlace place_;
  std::vector<Property> properties_;
  std::vector<std::string> keys_;  // declared, also those that may not be there
  std::set<std::string> required_;
  std::vector<std::string> required_in_order_;
  std::optional<std::string> further_;
  std::size_t further_least_ = 0;
  std::size_t further_most_ = kNoLimit;
  bool not_empty_ = false;
};

}  // namespace

std::optional<std::string> write_object(SchemaWriter& writer, const Json& schema, const SchemaPlace& place) {
  return ObjectWriter(writer, schema, place).written();
}

}  // namespace baton::text
