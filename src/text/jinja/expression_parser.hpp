// The expression half of the parser, and the token stream that both halves read.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "baton/base/result.hpp"
#include "text/jinja/ast.hpp"
#include "text/jinja/lexer.hpp"

namespace baton::text::jinja {

// Reading past the end gives the end token again. The first problem is kept, and from then on every token is
// the end, so that loops stop.
class TokenStream {
 public:
  explicit TokenStream(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  const Token& peek(std::size_t ahead = 0) const;
  Token take();
  bool at(TokenKind kind, std::string_view text = {}) const;
  bool at_name(std::string_view name) const { return at(TokenKind::name, name); }
  bool take_if(TokenKind kind, std::string_view text);
  bool take_op(std::string_view op) { return take_if(TokenKind::op, op); }
  bool take_name(std::string_view name) { return take_if(TokenKind::name, name); }
  void expect_op(std::string_view op);
  std::string expect_name();

  void fail(const std::string& problem, ErrorCode code = ErrorCode::invalid_argument);
  bool failed() const { return error_.has_value(); }
  const Error& error() const { return *error_; }

 private:
  std::vector<Token> tokens_;
  std::size_t next_ = 0;
  std::optional<Error> error_;
};

class ExpressionParser {
 public:
  explicit ExpressionParser(TokenStream& stream) : stream_(stream) {}

  ExpressionPtr expression() { return conditional(); }
  // One expression, or a tuple without brackets. Without `conditionals` a following "if" is left alone (for
  // ... in ... if).
  ExpressionPtr tuple(bool conditionals);
  // What can be assigned to: a name, a tuple of names, or name.attribute where `attributes`.
  ExpressionPtr target(bool attributes);
  // | a | b(1), without an input: for filter and set blocks. Null where there is none.
  ExpressionPtr filter_chain(bool first_without_bar);

  bool saw_rest() const { return saw_rest_; }  // "varargs" or "kwargs" was read
  void forget_rest() { saw_rest_ = false; }

 private:
  using Kind = Expression::Kind;
  using Rule = ExpressionPtr (ExpressionParser::*)();

  ExpressionPtr conditional();
  ExpressionPtr logical_or();
  ExpressionPtr logical_and();
  ExpressionPtr logical_not();
  ExpressionPtr comparison();
  ExpressionPtr sum();
  ExpressionPtr concatenation();
  ExpressionPtr product();
  ExpressionPtr power();
  ExpressionPtr unary();
  ExpressionPtr signed_operand();
  ExpressionPtr primary();
  ExpressionPtr name_or_constant();
  ExpressionPtr number();
  ExpressionPtr bracketed();
  ExpressionPtr dict();
  ExpressionPtr postfix(ExpressionPtr object);
  ExpressionPtr subscript(ExpressionPtr object);
  ExpressionPtr filters_and_tests(ExpressionPtr input);
  ExpressionPtr filter(ExpressionPtr input);
  ExpressionPtr test(ExpressionPtr input);
  ExpressionPtr call(ExpressionPtr callee);
  void arguments(Expression& node);
  ExpressionPtr left_chain(Rule operand, std::initializer_list<std::string_view> operators);

  std::unique_ptr<Expression> node(Kind kind) const;
  ExpressionPtr finish(std::unique_ptr<Expression> node);
  ExpressionPtr broken();

  TokenStream& stream_;
  int nesting_ = 0;
  bool saw_rest_ = false;
};

}  // namespace baton::text::jinja
