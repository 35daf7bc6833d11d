use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use super::answer::FlagsAnswer;
use super::definitions::Definitions;
use super::options::Question;
use super::stack::FlagsStack;
use crate::monitor::Failure;

/// What PostHog is asked at the moment, and whatever else goes on in the background.
#[derive(Debug)]
pub(super) struct UnderWay(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Taken at the end, as these hold connections.
    stack: Option<FlagsStack>,
    definitions: Option<Arc<Definitions>>,
    answers: HashMap<Question, Answer>,
    /// That definitions are fetched.
    polling: Option<AbortHandle>,
    tasks: JoinSet<()>,
}

/// What came of a question.
pub(super) type Outcome = Result<Arc<FlagsAnswer>, Failure>;

/// An answer that is there or will be.
pub(super) type Answer = watch::Receiver<Option<Outcome>>;

impl UnderWay {
    pub(super) fn new(stack: FlagsStack, definitions: Option<Definitions>) -> Self {
        Self(Mutex::new(State {
            stack: Some(stack),
            definitions: definitions.map(Arc::new),
            answers: HashMap::new(),
            polling: None,
            tasks: JoinSet::new(),
        }))
    }

    /// Does this in the background until it is done, or all ends.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.state().tasks.spawn(task);
    }

    /// The definitions, which are fetched from now on. `None` without local evaluation and after the end.
    pub(super) fn definitions(&self) -> Option<Arc<Definitions>> {
        let mut state = self.state();
        let definitions = Arc::clone(state.definitions.as_ref()?);
        // Polling that has ended did so with another runtime.
        if state.polling.as_ref().is_none_or(AbortHandle::is_finished) {
            state.polling = Some(state.tasks.spawn(Arc::clone(&definitions).poll()));
        }
        Some(definitions)
    }

    /// The answer to a question that is under way, or is now: in a task of its own, so that a caller who gives up does
    /// not waste it. `None` after the end.
    pub(super) fn share<A>(
        &self,
        question: &Question,
        ask: impl FnOnce(FlagsStack, watch::Sender<Option<Outcome>>) -> A,
    ) -> Option<Answer>
    where
        A: Future<Output = ()> + Send + 'static,
    {
        let mut state = self.state();
        let stack = state.stack.clone()?;
        // An answer that will never come is none: its task has ended with another runtime.
        if let Some(answer) = state.answers.get(question).filter(|answer| answer.has_changed().is_ok()) {
            return Some(answer.clone());
        }
        while state.tasks.try_join_next().is_some() {}
        let (sender, answer) = watch::channel(None);
        state.answers.insert(Arc::clone(question), answer.clone());
        state.tasks.spawn(ask(stack, sender));
        Some(answer)
    }

    /// Whoever asks this from now on asks anew.
    pub(super) fn answered(&self, question: &Question) {
        self.state().answers.remove(question);
    }

    /// Ends all of it, and lets nothing begin. Gives the tasks.
    pub(super) fn end(&self) -> JoinSet<()> {
        let mut state = self.state();
        state.stack = None;
        state.definitions = None;
        state.answers.clear();
        let mut tasks = std::mem::take(&mut state.tasks);
        tasks.abort_all();
        tasks
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
