//! The list of routes: each says by what it is allowed where it is declared, so that there is none without.
//!
//! A handler cannot be added to the API in another way. The list is what permissions are enforced by, and what
//! the test of all roles against all routes is made from.

use axum::Router;
use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{delete, get, patch, post, put};

use super::Server;
use crate::access::table::{Resource, Verb};

/// Routes with what they need.
#[derive(Default)]
pub struct Routes {
    router: Router<Server>,
    list: Vec<Route>,
}

/// One route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path as it is declared, with its parameters in braces.
    pub path: String,
    /// What it is about.
    pub resource: Resource,
    /// What is done with it.
    pub verb: Verb,
}

impl Routes {
    /// GET: looks at something.
    #[must_use]
    pub fn read<T: 'static>(
        mut self,
        path: &str,
        resource: impl Into<Resource>,
        handler: impl Handler<T, Server>,
    ) -> Self {
        self.router = self.router.route(path, get(handler));
        self.note(Method::GET, path, resource.into(), Verb::Read)
    }

    /// POST that only looks: the question is too long for a path.
    #[must_use]
    pub fn ask<T: 'static>(
        mut self,
        path: &str,
        resource: impl Into<Resource>,
        handler: impl Handler<T, Server>,
    ) -> Self {
        self.router = self.router.route(path, post(handler));
        self.note(Method::POST, path, resource.into(), Verb::Read)
    }

    /// POST: makes a new one.
    #[must_use]
    pub fn create<T: 'static>(
        mut self,
        path: &str,
        resource: impl Into<Resource>,
        handler: impl Handler<T, Server>,
    ) -> Self {
        self.router = self.router.route(path, post(handler));
        self.note(Method::POST, path, resource.into(), Verb::Create)
    }

    /// POST that changes what is there already.
    #[must_use]
    pub fn act<T: 'static>(
        mut self,
        path: &str,
        resource: impl Into<Resource>,
        handler: impl Handler<T, Server>,
    ) -> Self {
        self.router = self.router.route(path, post(handler));
        self.note(Method::POST, path, resource.into(), Verb::Update)
    }

    /// PUT: replaces one.
    #[must_use]
    pub fn replace<T: 'static>(
        mut self,
        path: &str,
        resource: impl Into<Resource>,
        handler: impl Handler<T, Server>,
    ) -> Self {
        self.router = self.router.route(path, put(handler));
        self.note(Method::PUT, path, resource.into(), Verb::Update)
    }

    /// PATCH: changes one.
    #[must_use]
    pub fn change<T: 'static>(
        mut self,
        path: &str,
        resource: impl Into<Resource>,
        handler: impl Handler<T, Server>,
    ) -> Self {
        self.router = self.router.route(path, patch(handler));
        self.note(Method::PATCH, path, resource.into(), Verb::Update)
    }

    /// DELETE: removes one.
    #[must_use]
    pub fn delete<T: 'static>(
        mut self,
        path: &str,
        resource: impl Into<Resource>,
        handler: impl Handler<T, Server>,
    ) -> Self {
        self.router = self.router.route(path, delete(handler));
        self.note(Method::DELETE, path, resource.into(), Verb::Delete)
    }

    /// DELETE of a part of something, which changes the whole.
    #[must_use]
    pub fn delete_part<T: 'static>(
        mut self,
        path: &str,
        resource: impl Into<Resource>,
        handler: impl Handler<T, Server>,
    ) -> Self {
        self.router = self.router.route(path, delete(handler));
        self.note(Method::DELETE, path, resource.into(), Verb::Update)
    }

    /// Adds other routes.
    #[must_use]
    pub fn merge(mut self, others: Self) -> Self {
        self.router = self.router.merge(others.router);
        self.list.extend(others.list);
        self
    }

    /// The list.
    pub fn list(&self) -> &[Route] {
        &self.list
    }

    /// The router, without the list.
    pub fn into_router(self) -> Router<Server> {
        self.router
    }

    fn note(mut self, method: Method, path: &str, resource: Resource, verb: Verb) -> Self {
        self.list.push(Route { method, path: path.to_owned(), resource, verb });
        self
    }
}
