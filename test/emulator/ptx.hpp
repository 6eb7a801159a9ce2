// The text of PTX modules, taken apart: functions of statements, variables, labels. Nothing here knows what
// an instruction does. Source: "Parallel Thread Execution ISA", NVIDIA; of its syntax what nvcc writes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace baton::emulator::ptx {

enum class Space { none, global, shared, local, param, constant };

struct Variable {
  std::string name;
  Space space = Space::none;
  std::size_t align = 1;
  std::size_t bytes = 0;  // 0 where the launch says how many (extern .shared)
  std::vector<std::byte> initial;
};

struct Argument {
  enum class Kind { name, integer, real32, real64, list, memory, sink };
  Kind kind = Kind::sink;
  std::string name;                // of a register, a variable, a label; unique within the function
  std::uint64_t bits = 0;          // of a number; of a memory operand, what is added to its address
  bool inverted = false;           // !%p
  std::vector<Argument> elements;  // {a, b}; of a memory operand its address, then coordinates
};

struct Statement {
  std::string guard;  // a predicate; empty: always
  bool guard_inverted = false;
  std::string opcode;  // with all that is joined to it by dots
  std::vector<Argument> arguments;
  int scope = 0;  // where its labels are looked up
};

struct Function {
  std::string name;
  bool entry = false;
  std::vector<Variable> parameters;
  std::vector<Variable> variables;  // .shared and .local of its own
  std::map<std::string, std::size_t>
      widths;  // registers of the function: bytes that a lane of them takes, 4 or 8
  std::vector<Statement> statements;
  std::map<std::pair<int, std::string>, int> labels;  // of a scope: the statement that follows
  std::vector<int> scope_parents;                     // scope 0 is the function's

  // The statement a label stands before, seen from `scope`; -1 if there is none.
  int find_label(int scope, const std::string& label) const;
};

struct Module {
  std::vector<Variable> variables;
  std::vector<Function> functions;
  const Function* find(std::string_view name) const;
};

// Throws std::runtime_error with the line that it does not understand.
Module parse(std::string_view text);

}  // namespace baton::emulator::ptx
