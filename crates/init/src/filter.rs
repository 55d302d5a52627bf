//! Makes seccomp filters of the tables in [`crate::syscalls`] and puts them on this process.

use crate::syscalls::{ALLOW, Argument, REFUSE};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};
use std::collections::BTreeMap;

/// Rules by system call; none means any arguments.
type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// The two filters, in the order in which they are installed. When both refuse, the kernel takes the answer of the
/// one installed last: EPERM for what [`REFUSE`] names, ENOSYS for all else.
///
/// Both kill a process that calls by another ABI than the native one (i386); x32 numbers are in no table.
pub(crate) fn compile() -> Result<[BpfProgram; 2], seccompiler::Error> {
    let errno = |errno: i32| SeccompAction::Errno(errno.cast_unsigned());
    Ok([
        program(allowed(), errno(libc::ENOSYS), SeccompAction::Allow)?,
        program(refused()?, SeccompAction::Allow, errno(libc::EPERM))?,
    ])
}

/// Puts the filters on this thread, which is the only one, and all it will start.
pub(crate) fn install() -> Result<(), seccompiler::Error> {
    compile()?.iter().try_for_each(|program| seccompiler::apply_filter(program))
}

fn program(rules: Rules, otherwise: SeccompAction, on_match: SeccompAction) -> Result<BpfProgram, seccompiler::Error> {
    let native = std::env::consts::ARCH.try_into().map_err(seccompiler::Error::Backend)?;
    let filter = SeccompFilter::new(rules, otherwise, on_match, native).map_err(seccompiler::Error::Backend)?;
    filter.try_into().map_err(seccompiler::Error::Backend)
}

fn allowed() -> Rules {
    ALLOW.iter().flat_map(|group| group.calls).map(|call| (*call, Vec::new())).collect()
}

fn refused() -> Result<Rules, seccompiler::Error> {
    let mut rules = Rules::new();
    for refusal in REFUSE {
        for call in refusal.calls {
            let rules = rules.entry(*call).or_default();
            for arguments in refusal.when {
                rules.push(rule(arguments).map_err(seccompiler::Error::Backend)?);
            }
        }
    }
    Ok(rules)
}

fn rule(arguments: &[Argument]) -> Result<SeccompRule, seccompiler::BackendError> {
    let condition = |argument: &Argument| {
        let (index, operator, value) = match *argument {
            Argument::Is(index, value) => (index, SeccompCmpOp::Eq, value),
            Argument::IsNot(index, value) => (index, SeccompCmpOp::Ne, value),
            Argument::Bits { index, mask, value } => (index, SeccompCmpOp::MaskedEq(mask.into()), value),
        };
        SeccompCondition::new(index, SeccompCmpArgLen::Dword, operator, value.into())
    };
    SeccompRule::new(arguments.iter().map(condition).collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel takes 4096 instructions at most.
    #[test]
    fn the_tables_compile_and_fit() {
        for program in compile().unwrap() {
            assert!((100..4096).contains(&program.len()), "{} instructions", program.len());
        }
    }
}
