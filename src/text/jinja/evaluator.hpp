// Rendering: walks a template's tree with its variables.
//
// One Evaluator is one render, on one thread. It spends a budget of steps and of bytes, and bounds its
// recursion, so that any template with any messages ends soon: with text, or with an error. No exceptions:
// the first failure is kept, and everything unwinds at the next statement.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "baton/base/result.hpp"
#include "text/jinja/ast.hpp"
#include "text/jinja/callable.hpp"

namespace baton::text::jinja {

class Evaluator final : public Context {
 public:
  // `globals` come behind `variables`; both must outlive the render.
  Evaluator(const Dict& variables, const Dict& globals) : variables_(variables), globals_(globals) {}

  Result<std::string> render(const Block& block);

  Value fail(std::string message) override;
  Value raise(std::string message) override;
  bool failed() const override { return error_.has_value(); }
  bool charge(std::size_t bytes) override;
  Value filter(std::string_view name, const Value& input, const Arguments& arguments) override;
  bool test(std::string_view name, const Value& input, const Arguments& arguments) override;

 private:
  friend class Macro;
  using Kind = Expression::Kind;

  // Variables of one scope. Frames live until the render ends, for macros keep pointing at the one they were
  // defined in.
  struct Frame {
    Frame* parent = nullptr;
    std::vector<std::pair<std::string_view, Value>> variables;  // names are the tree's
  };
  enum class Flow : std::uint8_t { normal, broken, continued };

  // Counts steps and depth for the time that it lives.
  class Step {
   public:
    explicit Step(Evaluator& evaluator);
    ~Step() { --evaluator_.depth_; }
    Step(const Step&) = delete;
    Step& operator=(const Step&) = delete;

   private:
    Evaluator& evaluator_;
  };

  Frame* push_frame(Frame* parent);
  void set(std::string_view name, Value value);
  Value look_up(const std::string& name) const;

  Flow run(const Block& block);
  Flow run(const Statement& statement);
  Flow run_if(const Statement& statement);
  void run_for(const Statement& statement);
  void run_assign_block(const Statement& statement);
  void run_call_block(const Statement& statement);
  void run_with(const Statement& statement);
  // The output of a body in a scope of its own, below `parent`.
  std::string capture(const Block& block, Frame* parent);
  Value call_macro(const Statement& macro, Frame* defined_in, const Value* caller,
                   const Arguments& arguments);
  void bind_rest(const Statement& macro, const Arguments& arguments);
  void write(const Value& value);
  void assign(const Expression& target, const Value& value);
  void unpack(const Expression& target, const Value& value);

  Value evaluate(const Expression& expression);
  Value evaluate_sequence(const Expression& expression);
  Value evaluate_dict(const Expression& expression);
  Value evaluate_slice(const Expression& expression);
  Value evaluate_call(const Expression& expression, const Value* caller);
  Value evaluate_filter(const Expression& expression, const Value* block_input);
  Value evaluate_concat(const Expression& expression);
  Value evaluate_compare(const Expression& expression);
  bool compare_pair(const std::string& op, const Value& a, const Value& b);
  Arguments evaluate_arguments(const Expression& expression);
  // Fails where a container has become too deep (value.hpp).
  Value checked(Value value);

  const Dict& variables_;
  const Dict& globals_;
  std::vector<std::unique_ptr<Frame>> frames_;
  Frame* frame_ = nullptr;
  std::string out_;
  std::optional<Error> error_;
  int line_ = 0;
  int depth_ = 0;
  std::size_t steps_ = 0;
  std::size_t spent_ = 0;
};

}  // namespace baton::text::jinja
