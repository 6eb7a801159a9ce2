#include "text/grammar_text/string_formats.hpp"

#include <map>
#include <string>
#include <utility>

namespace baton::text {

namespace {

using Patterns = std::map<std::string, std::string, std::less<>>;

std::string maybe(const std::string& pattern) { return "(" + pattern + ")?"; }
std::string either(const std::string& a, const std::string& b, const std::string& c) {
  return "(" + a + "|" + b + "|" + c + ")";
}

// RFC 3339, with the days that each month has; leap seconds are left out.
void add_times(Patterns& patterns) {
  const std::string leap = "([0-9]{2}(0[48]|[2468][048]|[13579][26])|(0[48]|[2468][048]|[13579][26])00)";
  const std::string date =
      "([0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|"
      "02-(0[1-9]|1[0-9]|2[0-8]))|" +
      leap + "-02-29)";
  const std::string clock = "([01][0-9]|2[0-3]):[0-5][0-9]";
  const std::string time = clock + ":[0-5][0-9](\\.[0-9]{1,9})?(Z|[+-]" + clock + ")";
  patterns["date"] = date;
  patterns["time"] = time;
  patterns["date-time"] = date + "T" + time;
}

// Appendix A of RFC 3339: units in order, none left out between two others.
void add_duration(Patterns& patterns) {
  const std::string number = "[0-9]{1,9}";
  const std::string second = number + "S";
  const std::string minute = number + "M" + maybe(second);
  const std::string hour = number + "H" + maybe(minute);
  const std::string time = "T" + either(hour, minute, second);
  const std::string day = number + "D";
  const std::string month = number + "M" + maybe(day);
  const std::string year = number + "Y" + maybe(month);
  patterns["duration"] = "P" + either(either(day, month, year) + maybe(time), time, number + "W");
}

// RFC 3986, section 3.2.2: `::` once, for at least one group.
std::string ipv6(const std::string& ipv4) {
  const std::string group = "[0-9A-Fa-f]{1,4}";
  const std::string last = "(" + group + ":" + group + "|" + ipv4 + ")";
  const auto colons = [&](const std::string& count) { return "(" + group + ":){" + count + "}"; };
  std::string pattern = "(" + colons("6") + last;
  for (int before = 0; before <= 7; ++before) {
    pattern += "|";
    if (before > 0) pattern += maybe(colons("0," + std::to_string(before - 1)).append(group));
    pattern += "::";
    if (before <= 5) pattern.append(colons(std::to_string(5 - before))).append(last);
    if (before == 6) pattern += group;
  }
  return pattern + ")";
}

void add_hosts(Patterns& patterns) {
  const std::string octet = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
  const std::string ipv4 = octet + "(\\." + octet + "){3}";
  const std::string label = "[0-9A-Za-z]([0-9A-Za-z-]{0,61}[0-9A-Za-z])?";  // RFC 1123
  const std::string hostname = label + "(\\." + label + "){0,2}";
  const std::string atom = "[0-9A-Za-z!#$%&'*+/=?^_`{|}~-]{1,31}";  // RFC 5321's dot-string
  patterns["ipv4"] = ipv4;
  patterns["ipv6"] = ipv6(ipv4);
  patterns["hostname"] = hostname;
  patterns["email"] = atom + maybe("\\." + atom) + "@" + hostname;
}

// RFC 3986, but for addresses in brackets.
void add_uri(Patterns& patterns) {
  const std::string character = "([0-9A-Za-z._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})";
  const std::string user = maybe("([0-9A-Za-z._~!$&'()*+,;=:-]|%[0-9A-Fa-f]{2})*@");
  const std::string host = "([0-9A-Za-z._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*";
  const std::string segments = "(/" + character + "*)*";
  const std::string authority = "//" + user + host + "(:[0-9]{0,5})?" + segments;
  const std::string path = "/?" + maybe(character + "+" + segments);
  const std::string further = "(" + character + "|[/?])*";
  patterns["uri"] = "[A-Za-z][0-9A-Za-z+.-]*:(" + authority + "|" + path + ")" + maybe("\\?" + further) +
                    maybe("#" + further);
}

std::map<std::string, RegexNode, std::less<>> make_formats() {
  Patterns patterns;
  add_times(patterns);
  add_duration(patterns);
  add_hosts(patterns);
  add_uri(patterns);
  patterns["uuid"] = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}";
  std::map<std::string, RegexNode, std::less<>> formats;
  for (const auto& [name, pattern] : patterns) {
    if (auto parsed = parse_regex(pattern)) formats.emplace(name, std::move(*parsed));
  }
  return formats;
}

}  // namespace

const RegexNode* string_format(std::string_view name) {
  static const auto formats = make_formats();
  const auto found = formats.find(name);
  return found == formats.end() ? nullptr : &found->second;
}

}  // namespace baton::text
