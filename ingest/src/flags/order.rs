//! Things that depend on each other, in an order in which each comes after what it depends on.

/// The order; or a cycle, its first element repeated at the end.
pub(super) fn dependencies_first(dependencies: &[Vec<usize>]) -> Result<Vec<usize>, Vec<usize>> {
    let mut dependents: Vec<Vec<usize>> = vec![Vec::new(); dependencies.len()];
    let mut missing: Vec<usize> = vec![0; dependencies.len()];
    for (index, own) in dependencies.iter().enumerate() {
        missing[index] = own.len();
        for dependency in own {
            dependents[*dependency].push(index);
        }
    }
    let mut order: Vec<usize> = (0..dependencies.len()).filter(|index| missing[*index] == 0).collect();
    let mut done = 0;
    while let Some(index) = order.get(done).copied() {
        done += 1;
        for dependent in &dependents[index] {
            missing[*dependent] -= 1;
            if missing[*dependent] == 0 {
                order.push(*dependent);
            }
        }
    }
    match missing.iter().position(|count| *count > 0) {
        None => Ok(order),
        Some(start) => Err(cycle(start, dependencies, &missing)),
    }
}

/// Follows what is missing until something comes again.
fn cycle(start: usize, dependencies: &[Vec<usize>], missing: &[usize]) -> Vec<usize> {
    let mut path = vec![start];
    loop {
        let last = path[path.len() - 1];
        let next = dependencies[last].iter().copied().find(|dependency| missing[*dependency] > 0);
        let next = next.expect("what is missing something depends on something that is, too");
        let seen = path.iter().position(|index| *index == next);
        path.push(next);
        if let Some(first) = seen {
            return path.split_off(first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_come_first_and_cycles_are_named() {
        let order = |dependencies: &[&[usize]]| {
            dependencies_first(&dependencies.iter().map(|own| own.to_vec()).collect::<Vec<_>>())
        };
        assert_eq!(order(&[]), Ok(vec![]));
        assert_eq!(order(&[&[1], &[2], &[]]), Ok(vec![2, 1, 0]));
        assert_eq!(order(&[&[1, 1], &[]]), Ok(vec![1, 0]));
        assert_eq!(order(&[&[0]]), Err(vec![0, 0]));
        assert_eq!(order(&[&[1], &[2], &[3], &[1]]), Err(vec![1, 2, 3, 1]));
    }
}
