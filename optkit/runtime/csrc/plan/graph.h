// A program's steps as a graph: which step makes a value, which read it, and what follows from that.
#pragma once

#include <vector>

#include "format/spec.h"

namespace optkit {

class Graph {
public:
    struct Value {
        std::vector<size_t> readers;  // steps
        uint32_t producer = kNone;    // step
        int input = -1;
        bool output = false;
    };

    explicit Graph(const Spec& spec);

    const Value& value(uint32_t number) const { return values_[number]; }
    /// Steps between two attentions, which run on a tile together, have the same stage.
    size_t stage(size_t step) const { return stages_[step]; }

    /// The step that alone reads `value`, if it has the stage of step `maker`; kNone if there is none.
    size_t sole_reader(uint32_t value, size_t maker) const;

    /// The FakeQuantize that makes the query (0) or key (1) of an attention, if its 8-bit numbers can be used as they
    /// are: nothing else reads it, and zero is one of its steps. Else null.
    const Step* integer_quantizer(const Step& attention, int which) const;

    /// The attention that reads `value`, if nothing else does but relative positions, which take either form; or null.
    const Step* sole_attention(uint32_t value) const;

    /// Whether attentions are all that reads `value`, and read it as their values alone.
    bool values_alone(uint32_t value) const;

    /// Whether this value is a query or key that its attention wants as integers.
    bool read_as_integers(uint32_t value) const;

private:
    const Spec& spec_;
    std::vector<Value> values_;
    std::vector<size_t> stages_;
};

}  // namespace optkit
