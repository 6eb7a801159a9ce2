#include "text/jinja/expression_parser.hpp"

#include <algorithm>
#include <charconv>

namespace baton::text::jinja {

const Token& TokenStream::peek(std::size_t ahead) const {
  return failed() ? tokens_.back() : tokens_[std::min(next_ + ahead, tokens_.size() - 1)];
}

Token TokenStream::take() {
  Token token = peek();
  if (!failed() && next_ + 1 < tokens_.size()) ++next_;
  return token;
}

bool TokenStream::at(TokenKind kind, std::string_view text) const {
  return peek().kind == kind && (text.empty() || peek().text == text);
}

bool TokenStream::take_if(TokenKind kind, std::string_view text) {
  if (!at(kind, text)) return false;
  take();
  return true;
}

void TokenStream::expect_op(std::string_view op) {
  if (!take_op(op)) fail("expected '" + std::string(op) + "', got '" + peek().text + "'");
}

std::string TokenStream::expect_name() {
  if (!at(TokenKind::name)) fail("expected a name, got '" + peek().text + "'");
  return take().text;
}

void TokenStream::fail(const std::string& problem, ErrorCode code) {
  if (!error_)
    error_ = make_error(code, "chat template, line " + std::to_string(peek().line) + ": " + problem);
}

std::unique_ptr<Expression> ExpressionParser::node(Kind kind) const {
  auto made = std::make_unique<Expression>();
  made->kind = kind;
  made->line = stream_.peek().line;
  return made;
}

ExpressionPtr ExpressionParser::finish(std::unique_ptr<Expression> made) {
  for (const ExpressionPtr& child : made->children) {
    if (child != nullptr) made->depth = std::max(made->depth, child->depth + 1);
  }
  for (const auto& [name, child] : made->named) made->depth = std::max(made->depth, child->depth + 1);
  if (made->depth > kMaxTreeDepth) {
    stream_.fail("an expression nested too deep");
    return broken();  // and the deep tree goes, one level at a time
  }
  return made;
}

ExpressionPtr ExpressionParser::broken() { return std::make_unique<const Expression>(); }

ExpressionPtr ExpressionParser::tuple(bool conditionals) {
  auto made = node(Kind::tuple);
  bool comma = false;
  do {
    const bool ends = stream_.at(TokenKind::block_end) || stream_.at(TokenKind::variable_end) ||
                      stream_.at(TokenKind::op, "=") || stream_.at(TokenKind::op, ")") ||
                      stream_.at(TokenKind::end);
    if (comma && ends) break;
    made->children.push_back(conditionals ? conditional() : logical_or());
    if (!stream_.at(TokenKind::op, ",")) break;
    comma = true;
  } while (stream_.take_op(","));
  if (!comma) return ExpressionPtr(std::move(made->children.front()));
  return finish(std::move(made));
}

ExpressionPtr ExpressionParser::target(bool attributes) {
  auto made = node(Kind::tuple);
  bool comma = false;
  do {
    if (comma && !stream_.at(TokenKind::name) && !stream_.at(TokenKind::op, "(")) break;
    if (++nesting_ < kMaxTreeDepth && stream_.take_op("(")) {
      made->children.push_back(target(false));
      stream_.expect_op(")");
    } else {
      auto name = node(Kind::name);
      name->text = stream_.expect_name();
      if (attributes && stream_.take_op(".")) {
        auto attribute = node(Kind::attribute);
        attribute->text = stream_.expect_name();
        attribute->children.push_back(finish(std::move(name)));
        made->children.push_back(finish(std::move(attribute)));
      } else {
        made->children.push_back(finish(std::move(name)));
      }
    }
    --nesting_;
    if (!stream_.at(TokenKind::op, ",")) break;
    comma = true;
  } while (stream_.take_op(","));
  if (!comma) return ExpressionPtr(std::move(made->children.front()));
  return finish(std::move(made));
}

ExpressionPtr ExpressionParser::filter_chain(bool first_without_bar) {
  ExpressionPtr chain;
  if (first_without_bar) chain = filter(nullptr);
  while (stream_.take_op("|")) chain = filter(std::move(chain));
  return chain;
}

ExpressionPtr ExpressionParser::conditional() {
  if (++nesting_ > kMaxTreeDepth) stream_.fail("an expression nested too deep");
  ExpressionPtr value = logical_or();
  while (stream_.take_name("if")) {
    auto made = node(Kind::conditional);
    made->children.push_back(logical_or());
    made->children.push_back(std::move(value));
    made->children.push_back(stream_.take_name("else") ? conditional() : nullptr);
    value = finish(std::move(made));
  }
  --nesting_;
  return value;
}

ExpressionPtr ExpressionParser::logical_or() {
  ExpressionPtr left = logical_and();
  while (stream_.take_name("or")) {
    auto made = node(Kind::logical_or);
    made->children.push_back(std::move(left));
    made->children.push_back(logical_and());
    left = finish(std::move(made));
  }
  return left;
}

ExpressionPtr ExpressionParser::logical_and() {
  ExpressionPtr left = logical_not();
  while (stream_.take_name("and")) {
    auto made = node(Kind::logical_and);
    made->children.push_back(std::move(left));
    made->children.push_back(logical_not());
    left = finish(std::move(made));
  }
  return left;
}

ExpressionPtr ExpressionParser::logical_not() {
  std::vector<std::unique_ptr<Expression>> nots;
  while (stream_.at_name("not") && nots.size() < kMaxTreeDepth) {
    nots.push_back(node(Kind::logical_not));
    stream_.take();
  }
  ExpressionPtr operand = comparison();
  for (; !nots.empty(); nots.pop_back()) {
    nots.back()->children.push_back(std::move(operand));
    operand = finish(std::move(nots.back()));
  }
  return operand;
}

ExpressionPtr ExpressionParser::comparison() {
  static constexpr std::string_view kSymbols[] = {"==", "!=", "<", "<=", ">", ">="};
  auto made = node(Kind::compare);
  made->children.push_back(sum());
  while (true) {
    const Token& token = stream_.peek();
    std::string op;
    if (token.kind == TokenKind::op &&
        std::find(std::begin(kSymbols), std::end(kSymbols), token.text) != std::end(kSymbols)) {
      op = stream_.take().text;
    } else if (stream_.take_name("in")) {
      op = "in";
    } else if (stream_.at_name("not") && stream_.peek(1).kind == TokenKind::name &&
               stream_.peek(1).text == "in") {
      stream_.take();
      stream_.take();
      op = "not in";
    } else {
      break;
    }
    made->operators.push_back(std::move(op));
    made->children.push_back(sum());
  }
  if (made->operators.empty()) return ExpressionPtr(std::move(made->children.front()));
  return finish(std::move(made));
}

ExpressionPtr ExpressionParser::left_chain(Rule operand, std::initializer_list<std::string_view> operators) {
  ExpressionPtr left = (this->*operand)();
  while (stream_.at(TokenKind::op) &&
         std::find(operators.begin(), operators.end(), stream_.peek().text) != operators.end()) {
    auto made = node(Kind::binary);
    made->text = stream_.take().text;
    made->children.push_back(std::move(left));
    made->children.push_back((this->*operand)());
    left = finish(std::move(made));
  }
  return left;
}

ExpressionPtr ExpressionParser::sum() { return left_chain(&ExpressionParser::concatenation, {"+", "-"}); }

ExpressionPtr ExpressionParser::concatenation() {
  auto made = node(Kind::concat);
  made->children.push_back(product());
  while (stream_.take_op("~")) made->children.push_back(product());
  if (made->children.size() == 1) return ExpressionPtr(std::move(made->children.front()));
  return finish(std::move(made));
}

ExpressionPtr ExpressionParser::product() {
  return left_chain(&ExpressionParser::power, {"*", "/", "//", "%"});
}
ExpressionPtr ExpressionParser::power() { return left_chain(&ExpressionParser::unary, {"**"}); }

ExpressionPtr ExpressionParser::unary() { return filters_and_tests(signed_operand()); }

ExpressionPtr ExpressionParser::signed_operand() {
  if (!stream_.at(TokenKind::op, "-") && !stream_.at(TokenKind::op, "+")) return postfix(primary());
  if (++nesting_ > kMaxTreeDepth) stream_.fail("an expression nested too deep");
  auto made = node(stream_.take().text == "-" ? Kind::negate : Kind::plus);
  made->children.push_back(signed_operand());
  --nesting_;
  return finish(std::move(made));
}

ExpressionPtr ExpressionParser::primary() {
  switch (stream_.peek().kind) {
    case TokenKind::name:
      return name_or_constant();
    case TokenKind::integer:
    case TokenKind::floating:
      return number();
    case TokenKind::string: {
      auto made = node(Kind::literal);
      std::string text;
      while (stream_.at(TokenKind::string)) text += stream_.take().text;
      made->value = Value(std::move(text));
      return finish(std::move(made));
    }
    default:
      return bracketed();
  }
}

ExpressionPtr ExpressionParser::name_or_constant() {
  auto made = node(Kind::literal);
  const std::string name = stream_.take().text;
  if (name == "true" || name == "True") {
    made->value = Value(true);
  } else if (name == "false" || name == "False") {
    made->value = Value(false);
  } else if (name == "none" || name == "None") {
    made->value = Value(None{});
  } else {
    made->kind = Kind::name;
    made->text = name;
    saw_rest_ = saw_rest_ || name == "varargs" || name == "kwargs";
  }
  return finish(std::move(made));
}

ExpressionPtr ExpressionParser::number() {
  auto made = node(Kind::literal);
  const Token token = stream_.take();
  const char* const begin = token.text.data();
  const char* const end = begin + token.text.size();
  if (token.kind == TokenKind::integer) {
    std::int64_t value = 0;
    if (std::from_chars(begin, end, value).ec != std::errc()) stream_.fail("a number beyond 64 bits");
    made->value = Value(value);
  } else {
    double value = 0;
    if (std::from_chars(begin, end, value).ec != std::errc()) stream_.fail("a number out of range");
    made->value = Value(value);
  }
  return finish(std::move(made));
}

ExpressionPtr ExpressionParser::bracketed() {
  if (stream_.take_op("(")) {
    if (stream_.take_op(")")) return finish(node(Kind::tuple));
    ExpressionPtr inner = tuple(true);
    stream_.expect_op(")");
    return inner;
  }
  if (stream_.at(TokenKind::op, "{")) return dict();
  if (!stream_.at(TokenKind::op, "[")) {
    stream_.fail(stream_.at(TokenKind::end) ? "an unexpected end"
                                            : "an unexpected '" + stream_.peek().text + "'");
    return broken();
  }
  auto made = node(Kind::list);
  stream_.take();
  while (!stream_.failed() && !stream_.at(TokenKind::op, "]")) {
    made->children.push_back(conditional());
    if (!stream_.take_op(",")) break;
  }
  stream_.expect_op("]");
  return finish(std::move(made));
}

ExpressionPtr ExpressionParser::dict() {
  auto made = node(Kind::dict);
  stream_.take();
  while (!stream_.failed() && !stream_.at(TokenKind::op, "}")) {
    made->children.push_back(conditional());
    stream_.expect_op(":");
    made->children.push_back(conditional());
    if (!stream_.take_op(",")) break;
  }
  stream_.expect_op("}");
  return finish(std::move(made));
}

ExpressionPtr ExpressionParser::postfix(ExpressionPtr object) {
  while (true) {
    if (stream_.at(TokenKind::op, "(")) {
      object = call(std::move(object));
    } else if (stream_.at(TokenKind::op, "[")) {
      object = subscript(std::move(object));
    } else if (stream_.take_op(".")) {
      if (stream_.at(TokenKind::integer)) {
        auto made = node(Kind::item);
        made->children.push_back(std::move(object));
        made->children.push_back(number());
        object = finish(std::move(made));
        continue;
      }
      auto made = node(Kind::attribute);
      made->text = stream_.expect_name();
      made->children.push_back(std::move(object));
      object = finish(std::move(made));
    } else {
      return object;
    }
  }
}

ExpressionPtr ExpressionParser::subscript(ExpressionPtr object) {
  auto made = node(Kind::slice);
  stream_.expect_op("[");
  made->children.push_back(std::move(object));
  const auto part = [&]() -> ExpressionPtr {
    const bool empty = stream_.at(TokenKind::op, ":") || stream_.at(TokenKind::op, "]");
    return empty ? nullptr : conditional();
  };
  made->children.push_back(part());
  if (!stream_.at(TokenKind::op, ":")) {
    made->kind = Kind::item;
    if (made->children.back() == nullptr) stream_.fail("an empty subscript");
    if (stream_.at(TokenKind::op, ",")) stream_.fail("a subscript of several parts", ErrorCode::unsupported);
  }
  while (made->kind == Kind::slice && made->children.size() < 4) {
    made->children.push_back(stream_.take_op(":") ? part() : nullptr);
  }
  stream_.expect_op("]");
  if (stream_.failed()) return broken();
  return finish(std::move(made));
}

ExpressionPtr ExpressionParser::filters_and_tests(ExpressionPtr input) {
  while (true) {
    if (stream_.take_op("|")) {
      input = filter(std::move(input));
    } else if (stream_.take_name("is")) {
      input = test(std::move(input));
    } else if (stream_.at(TokenKind::op, "(")) {
      input = call(std::move(input));
    } else {
      return input;
    }
  }
}

ExpressionPtr ExpressionParser::filter(ExpressionPtr input) {
  auto made = node(Kind::filter);
  made->text = stream_.expect_name();
  while (stream_.take_op(".")) made->text += "." + stream_.expect_name();
  made->children.push_back(std::move(input));
  if (stream_.at(TokenKind::op, "(")) arguments(*made);
  return finish(std::move(made));
}

ExpressionPtr ExpressionParser::test(ExpressionPtr input) {
  auto made = node(Kind::test);
  const bool negated = stream_.take_name("not");
  made->text = stream_.expect_name();
  made->children.push_back(std::move(input));
  const Token& next = stream_.peek();
  const bool keyword = next.text == "else" || next.text == "or" || next.text == "and" || next.text == "is" ||
                       next.text == "if" || next.text == "not" || next.text == "in";
  const bool operand = next.kind == TokenKind::string || next.kind == TokenKind::integer ||
                       next.kind == TokenKind::floating || (next.kind == TokenKind::name && !keyword) ||
                       (next.kind == TokenKind::op && (next.text == "[" || next.text == "{"));
  if (stream_.at(TokenKind::op, "(")) {
    arguments(*made);
  } else if (operand) {
    made->children.push_back(postfix(primary()));
  }
  ExpressionPtr result = finish(std::move(made));
  if (!negated) return result;
  auto negation = node(Kind::logical_not);
  negation->children.push_back(std::move(result));
  return finish(std::move(negation));
}

ExpressionPtr ExpressionParser::call(ExpressionPtr callee) {
  auto made = node(Kind::call);
  made->children.push_back(std::move(callee));
  arguments(*made);
  return finish(std::move(made));
}

void ExpressionParser::arguments(Expression& made) {
  stream_.expect_op("(");
  while (!stream_.failed() && !stream_.at(TokenKind::op, ")")) {
    if (stream_.at(TokenKind::op, "*") || stream_.at(TokenKind::op, "**")) {
      stream_.fail("unpacked arguments", ErrorCode::unsupported);
    } else if (stream_.at(TokenKind::name) && stream_.peek(1).kind == TokenKind::op &&
               stream_.peek(1).text == "=") {
      std::string name = stream_.take().text;
      stream_.take();
      made.named.emplace_back(std::move(name), conditional());
    } else {
      if (!made.named.empty()) stream_.fail("a positional argument behind a named one");
      made.children.push_back(conditional());
    }
    if (!stream_.take_op(",")) break;
  }
  stream_.expect_op(")");
}

}  // namespace baton::text::jinja
