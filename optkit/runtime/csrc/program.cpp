#include "program.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include <openvino/core/parallel.hpp>
#include <openvino/core/type/bfloat16.hpp>
#include <openvino/core/type/float16.hpp>
#include <openvino/op/constant.hpp>

#include "engine/engine.h"

namespace optkit {
namespace {

/// The types that values may have outside of a program: a precision hint turns the float32 graph around it into one of
/// the shorter ones.
bool is_real(const ov::element::Type& type) {
    return type == ov::element::f32 || type == ov::element::f16 || type == ov::element::bf16;
}

/// A tensor's numbers as float32: where they lie, or in `memory`.
const float* as_floats(const ov::Tensor& tensor, std::vector<float>& memory) {
    const ov::element::Type type = tensor.get_element_type();
    if (type == ov::element::f32)
        return tensor.data<const float>();
    memory.resize(tensor.get_size());
    if (type == ov::element::f16)
        std::copy_n(tensor.data<const ov::float16>(), memory.size(), memory.begin());
    else
        std::copy_n(tensor.data<const ov::bfloat16>(), memory.size(), memory.begin());
    return memory.data();
}

/// A tensor's integers as int32: where they lie, or in `memory`; what does not fit as -1, which is no place.
const int32_t* as_places(const ov::Tensor& tensor, std::vector<int32_t>& memory) {
    if (tensor.get_element_type() == ov::element::i32)
        return tensor.data<const int32_t>();
    memory.resize(tensor.get_size());
    std::transform(tensor.data<const int64_t>(), tensor.data<const int64_t>() + memory.size(), memory.begin(),
                   [](int64_t number) { return number == int32_t(number) ? int32_t(number) : -1; });
    return memory.data();
}

void from_floats(const std::vector<float>& values, ov::Tensor& tensor) {
    if (tensor.get_element_type() == ov::element::f16)
        std::copy(values.begin(), values.end(), tensor.data<ov::float16>());
    else
        std::copy(values.begin(), values.end(), tensor.data<ov::bfloat16>());
}

}  // namespace

Program::Program(const ov::OutputVector& arguments) : Op(arguments) { constructor_validate_and_infer_types(); }

bool Program::visit_attributes(ov::AttributeVisitor& visitor) {
    visitor.on_attribute("inference_precision", inference_precision_);
    return true;
}

void Program::validate_and_infer_types() {
    NODE_VALIDATION_CHECK(this, inference_precision_ == "f32" || inference_precision_ == "bf16",
                          "optkit: inference_precision is f32 or bf16, not ", inference_precision_);
    NODE_VALIDATION_CHECK(this, get_input_size() >= 2, "optkit: a program has at least one input, and its packed form");
    const size_t last = get_input_size() - 1;
    const auto packed = ov::as_type_ptr<ov::op::v0::Constant>(get_input_node_shared_ptr(last));
    NODE_VALIDATION_CHECK(this, loaded_ || (packed && packed->get_element_type() == ov::element::u8),
                          "optkit: the packed form of a program has to be a constant of u8");
    // Another constant in place of the one that was loaded is another program.
    if (packed && !(loaded_ && loaded_->made_from(packed->get_data_ptr(), packed->get_byte_size()))) {
        try {
            loaded_ = std::make_shared<const LoadedProgram>(packed);
        } catch (const std::exception& error) {
            NODE_VALIDATION_CHECK(this, false, "optkit: ", error.what());
        }
    }
    const Engine& engine = loaded_->engine();
    const auto& features = engine.features();
    ov::element::Type result = ov::element::f32;
    NODE_VALIDATION_CHECK(this, engine.inputs().size() == last, "optkit: the program has ", engine.inputs().size(),
                          " inputs, the node gives ", last);
    for (size_t i = 0; i < last; ++i) {
        const ov::PartialShape& shape = get_input_partial_shape(i);
        const ov::element::Type type = get_input_element_type(i);
        const uint32_t wanted = features[engine.inputs()[i]];
        const Use use = engine.kind_of(i).use;
        if (use == Use::table || use == Use::places) {
            const bool fits = use == Use::table ? is_real(type) : type == ov::element::i32 || type == ov::element::i64;
            NODE_VALIDATION_CHECK(this, type.is_dynamic() || fits, "optkit: a table of relative positions is of real ",
                                  "numbers and its places of integers, not ", type);
            NODE_VALIDATION_CHECK(this, shape.rank().compatible(4), "optkit: relative positions have four dimensions");
            continue;
        }
        if (wanted == 0) {
            // The CPU plugin turns booleans into bytes before it compiles.
            NODE_VALIDATION_CHECK(this,
                                  type.compatible(ov::element::boolean) || type == ov::element::u8 || is_real(type),
                                  "optkit: a mask is boolean, f32, f16 or bf16, not ", type);
            NODE_VALIDATION_CHECK(this, shape.rank().compatible(4), "optkit: a mask has four dimensions");
            continue;
        }
        NODE_VALIDATION_CHECK(this, type.is_dynamic() || is_real(type), "optkit: an input is f32, f16 or bf16, not ",
                              type);
        if (type.is_static() && type != ov::element::f32)
            result = type;
        if (shape.rank().is_dynamic())
            continue;
        NODE_VALIDATION_CHECK(this, shape.size() >= 1 && shape[shape.size() - 1].compatible(ov::Dimension(wanted)),
                              "optkit: input ", i, " has to end with ", wanted, " features");
        NODE_VALIDATION_CHECK(this, !engine.has_attention() || shape.size() == 3,
                              "optkit: attention needs (batch, length, features)");
    }
    set_output_size(engine.outputs().size());
    for (size_t i = 0; i < engine.outputs().size(); ++i) {
        ov::PartialShape shape = get_input_partial_shape(0);
        if (shape.rank().is_static())
            shape[shape.size() - 1] = features[engine.outputs()[i]];
        set_output_type(i, result, shape);
    }
}

std::shared_ptr<ov::Node> Program::clone_with_new_inputs(const ov::OutputVector& arguments) const {
    auto clone = std::make_shared<Program>();
    clone->loaded_ = loaded_;
    clone->inference_precision_ = inference_precision_;
    clone->set_arguments(arguments);
    clone->constructor_validate_and_infer_types();
    return clone;
}

bool Program::evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const {
    const Engine& engine = loaded_->engine();
    OPENVINO_ASSERT(inputs.size() == engine.inputs().size() + 1, "optkit: a run has ", inputs.size(), " inputs");
    OPENVINO_ASSERT(loaded_->runs(inputs.back().data(), inputs.back().get_byte_size()),
                    "optkit: the packed form of a program is not the one that was loaded: set another constant as the "
                    "operation's input and compile the model again");
    const auto& features = engine.features();
    const ov::Shape& shape = inputs[0].get_shape();
    OPENVINO_ASSERT(!shape.empty(), "optkit: input 0 has no dimensions");
    Batch batch;
    if (engine.has_attention()) {
        OPENVINO_ASSERT(shape.size() == 3, "optkit: attention needs (batch, length, features)");
        batch = {shape[0], shape[1]};
    } else {
        batch = {1, ov::shape_size(shape.begin(), shape.end() - 1)};
    }

    std::vector<Input> arguments;
    std::vector<std::vector<float>> converted(inputs.size());
    std::vector<std::vector<int32_t>> places(inputs.size());
    for (size_t i = 0; i < engine.inputs().size(); ++i) {
        const ov::Tensor& tensor = inputs[i];
        const uint32_t wanted = features[engine.inputs()[i]];
        const bool real = is_real(tensor.get_element_type());
        const InputKind kind = engine.kind_of(i);
        OPENVINO_ASSERT(tensor.is_continuous() && (real || wanted == 0), "optkit: input ", i,
                        " does not lie in a row, or is of type ", tensor.get_element_type());
        Input input;
        input.data = real ? as_floats(tensor, converted[i]) : tensor.data();
        if (kind.use == Use::table || kind.use == Use::places) {
            const ov::Shape& dims = tensor.get_shape();
            const bool table = kind.use == Use::table;
            OPENVINO_ASSERT(real == table && dims.size() == 4 && dims[0] == 1 && dims[1] == (table ? kind.heads : 1),
                            "optkit: relative positions of shape ", dims, " do not fit ", kind.heads, " heads");
            const size_t last = table ? kind.size : batch.length == 0 ? 0 : 2 * batch.length - 1;
            OPENVINO_ASSERT((table || dims[2] == 1) && dims[3] == last, "optkit: relative positions of shape ", dims,
                            " do not end with ", last);
            if (!table)
                input.data = as_places(tensor, places[i]);
            std::copy(dims.begin(), dims.end(), input.dims);
        } else if (wanted == 0) {
            const ov::Shape& dims = tensor.get_shape();
            input.boolean = !real;
            OPENVINO_ASSERT(dims.size() == 4 && (dims[0] == 1 || dims[0] == batch.sequences) &&
                                (dims[1] == 1 || dims[1] == kind.heads) && (dims[2] == 1 || dims[2] == batch.length) &&
                                (dims[3] == 1 || dims[3] == batch.length),
                            "optkit: a mask of shape ", dims, " does not fit ", batch.sequences, " sequences of ",
                            batch.length, " tokens");
            std::copy(dims.begin(), dims.end(), input.dims);
        } else {
            ov::Shape expected = shape;
            expected.back() = wanted;
            if (i > 0 && engine.has_attention() && tensor.get_shape().front() == 1)
                expected.front() = 1;  // it serves all sequences
            OPENVINO_ASSERT(tensor.get_shape() == expected, "optkit: input ", i, " of shape ", tensor.get_shape(),
                            " does not fit ", expected);
            input.tokens = ov::shape_size(expected.begin(), expected.end() - 1);
        }
        arguments.push_back(input);
    }
    std::vector<float*> results;
    std::vector<std::vector<float>> shortened(outputs.size());
    for (size_t i = 0; i < outputs.size(); ++i) {
        ov::Shape result = shape;
        result.back() = features[engine.outputs()[i]];
        outputs[i].set_shape(result);
        if (outputs[i].get_element_type() == ov::element::f32) {
            results.push_back(outputs[i].data<float>());
        } else {
            shortened[i].resize(outputs[i].get_size());
            results.push_back(shortened[i].data());
        }
    }
    const Threads threads{parallel_get_max_threads(), [](int count, const std::function<void(int)>& work) {
                              ov::parallel_nt(count, [&](int thread, int) { work(thread); });
                          }};
    engine.run(batch, arguments, results, threads, inference_precision_ == "bf16");
    for (size_t i = 0; i < outputs.size(); ++i)
        if (!shortened[i].empty())
            from_floats(shortened[i], outputs[i]);
    return true;
}

}  // namespace optkit
