// Values without features: what is added to the scores of attentions, and what that is made of.
#pragma once

#include <map>
#include <vector>

#include "format/spec.h"

namespace optkit {

/// Follows the masks, tables, places and sums of a program: each serves one purpose, and as many heads everywhere.
class Terms {
public:
    /// @param known of each value, whether it is there by now; read at each call.
    Terms(Spec& spec, const std::vector<bool>& known);

    /// Whether steps of that kind make such a value.
    static bool made_by(Op op) { return op == Op::relative || op == Op::bias; }

    /// Notes what the program's next step makes. `features` are those of its content, if it has one.
    /// @throws FormatError
    void make(const Step& step, uint32_t features);

    /// Notes that `number` is added to the scores of `heads` heads of `size` features.
    /// @throws FormatError
    void add_to_scores(uint32_t number, uint32_t heads, uint32_t size);

private:
    void use_as(uint32_t number, Use use);
    void use_as_term(uint32_t number);
    void serve(uint32_t number, uint32_t heads, uint32_t size);

    Spec& spec_;
    const std::vector<bool>& known_;
    // Of each value: the heads that it serves, the features of a head of its content, the step that makes it, and how
    // many masks and relative positions it is the sum of.
    std::vector<uint32_t> heads_, sizes_, makers_, masks_, relatives_;
    std::map<uint32_t, uint64_t> tables_;  // heads and features of one
};

}  // namespace optkit
