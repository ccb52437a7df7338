// The operation that OpenVINO sees.
#pragma once

#include <memory>
#include <string>

#include <openvino/op/op.hpp>

#include "loaded_program.h"

namespace optkit {

/// Inputs: the program's (values [.., features], boolean masks or ones of real numbers), then its packed form, a
/// constant of u8. Outputs: [.., features] with the first input's leading dimensions. Values are float32, inside of a
/// program always. Outside they are float16 or bfloat16 where OpenVINO has turned the graph around it into that:
/// outputs are, too, then.
class Program : public ov::op::Op {
public:
    OPENVINO_OP("Program", "optkit");

    Program() = default;
    explicit Program(const ov::OutputVector& arguments);

    void validate_and_infer_types() override;
    std::shared_ptr<ov::Node> clone_with_new_inputs(const ov::OutputVector& arguments) const override;
    bool visit_attributes(ov::AttributeVisitor& visitor) override;
    bool has_evaluate() const override { return true; }
    bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override;

private:
    // Made from the constant, again when that is replaced by another.
    std::shared_ptr<const LoadedProgram> loaded_;
    std::string inference_precision_ = "f32";
};

}  // namespace optkit
