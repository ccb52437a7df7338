#include "format/terms.h"

#include "format/sections.h"

namespace optkit {

Terms::Terms(Spec& spec, const std::vector<bool>& known)
    : spec_(spec), known_(known), heads_(known.size(), 0), sizes_(known.size(), 0), makers_(known.size(), kNone),
      masks_(known.size(), 0), relatives_(known.size(), 0) {}

void Terms::make(const Step& step, uint32_t features) {
    if (step.op == Op::relative) {
        use_as(step.sources[1], Use::table);
        use_as(step.sources[2], Use::places);
        const uint64_t table = uint64_t(step.heads) << 32 | features / step.heads;
        check(tables_.emplace(step.sources[1], table).first->second == table, "a table serves different heads");
        heads_[step.target] = step.heads;
        sizes_[step.target] = features / step.heads;
        relatives_[step.target] = 1;
    } else {
        for (int i = 0; i < 2; ++i) {
            use_as_term(step.sources[i]);
            masks_[step.target] += masks_[step.sources[i]];
            relatives_[step.target] += relatives_[step.sources[i]];
        }
        check(masks_[step.target] <= 2 && relatives_[step.target] <= 2, "too much is added to scores");
    }
    spec_.uses[step.target] = Use::sum;
    makers_[step.target] = uint32_t(spec_.steps.size());
}

void Terms::add_to_scores(uint32_t number, uint32_t heads, uint32_t size) {
    use_as_term(number);
    serve(number, heads, size);
}

/// Lets a value be for that and nothing else.
void Terms::use_as(uint32_t number, Use use) {
    check(number < known_.size() && known_[number] && spec_.features[number] == 0, "a mask is no mask");
    check(spec_.uses[number] == Use::none || spec_.uses[number] == use, "a value serves two purposes");
    spec_.uses[number] = use;
}

/// A mask, or a sum of such that a step makes.
void Terms::use_as_term(uint32_t number) {
    const bool made = number < makers_.size() && makers_[number] != kNone;
    use_as(number, made ? Use::sum : Use::mask);
    if (!made)
        masks_[number] = 1;
}

/// Whatever `number` is the sum of fits the heads of an attention. At most four values, so that this ends soon.
void Terms::serve(uint32_t number, uint32_t heads, uint32_t size) {
    check(heads_[number] == 0 || heads_[number] == heads, "a mask serves different numbers of heads");
    heads_[number] = heads;
    check(sizes_[number] == 0 || sizes_[number] == size, "relative positions do not fit a head");
    if (makers_[number] != kNone && spec_.steps[makers_[number]].op == Op::bias)
        for (uint32_t each : spec_.steps[makers_[number]].sources)
            if (each != kNone)
                serve(each, heads, size);
}

}  // namespace optkit
